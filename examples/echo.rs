//! An echo server: what a connection sends comes back.
//!
//! ```text
//! cargo run --release --example echo -- [--listen ADDR] [--threads N] [--workers N]
//!     [--framing raw|fixed:N|u8|u16|u32] [--max-frame BYTES] [--quiet]
//!     [--tls-cert FILE --tls-key FILE]... [--client-ca FILE] [--tls-provider ring|aws-lc-rs]
//! ```
//!
//! With `--workers 0` the first process owns all connections. With N, a supervisor keeps N named
//! workers, which take turns; one that crashes takes its own connections with it and no other.
//!
//! With certificates in PEM files it speaks TLS. Each pair is served for the names in it, the first
//! for all others too, and served anew when the files change. With `--client-ca` clients have to
//! show a certificate of an authority in that file, which is read anew when it changes.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::path::PathBuf;
use std::process::ExitCode;

use socktree::codec::FramingError;
use socktree::tls::Provider;
use socktree::{
    Actor, CertManager, ClientAuth, Ctx, Flow, Framing, LengthPrefix, Name, Reason, ServeFor,
    Source, Supervisor, TcpEvent, TcpServer,
};

struct Options {
    listen: String,
    threads: Option<usize>,
    workers: usize,
    framing: Framing,
    certs: Option<CertManager>,
    quiet: bool,
}

/// Answers each message with itself.
struct Echo;

impl Echo {
    fn answer(event: TcpEvent) {
        match event {
            TcpEvent::Data { conn, data } => {
                // Nothing to do when it is throttled: then the connection is not read either.
                conn.write(data);
            }
            TcpEvent::Connect { conn } => match conn.tls() {
                Some(tls) => log::info!("{} connected: {tls}", conn.peer_addr()),
                None => log::info!("{} connected", conn.peer_addr()),
            },
            TcpEvent::Disconnect { conn, reason } => log::info!("{}: {reason}", conn.peer_addr()),
            _ => {}
        }
    }
}

impl Actor for Echo {
    type Msg = TcpEvent;

    fn handle(&mut self, _ctx: &mut Ctx<'_, Self>, _from: Source, event: TcpEvent) -> Flow {
        Self::answer(event);
        Ok(())
    }
}

/// The first process: owns the listener, and without workers the connections too.
struct Root {
    options: Options,
}

impl Actor for Root {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let server = TcpServer::bind(&*self.options.listen).framing(self.options.framing.clone());
        let server = match &self.options.certs {
            Some(certs) => server.tls(certs),
            None => server,
        };
        let server = if self.options.workers == 0 {
            ctx.spawn_meta(server)?
        } else {
            let names: Vec<Name> = (0..self.options.workers)
                .map(|n| format!("echo_{n}").into())
                .collect();
            let none = Supervisor::one_for_one();
            let supervisor = names.iter().fold(none, |s, name| s.child(name, || Echo));
            ctx.spawn_link(supervisor)?;
            ctx.spawn_meta(server.workers(names))?
        };
        println!("listening on {}", server.local_addr());
        Ok(())
    }

    fn handle(&mut self, _ctx: &mut Ctx<'_, Self>, _from: Source, event: TcpEvent) -> Flow {
        Echo::answer(event);
        Ok(())
    }

    fn terminate(&mut self, _ctx: &mut Ctx<'_, Self>, reason: &Reason) {
        log::info!("stopping: {reason}");
    }
}

fn parse() -> Result<Options, String> {
    let mut options = Options {
        listen: "127.0.0.1:7171".into(),
        threads: None,
        workers: 0,
        framing: Framing::raw(),
        certs: None,
        quiet: false,
    };
    let (mut framing, mut max_frame) = (String::from("raw"), None);
    let mut tls = Tls::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        use lexopt::Arg::Long;
        match argument {
            Long("listen") => options.listen = socktree_examples::value(&mut parser, "listen")?,
            Long("threads") => {
                options.threads = Some(socktree_examples::value(&mut parser, "threads")?);
            }
            Long("workers") => options.workers = socktree_examples::value(&mut parser, "workers")?,
            Long("framing") => framing = socktree_examples::value(&mut parser, "framing")?,
            Long("max-frame") => {
                max_frame = Some(socktree_examples::value(&mut parser, "max-frame")?);
            }
            Long("tls-cert") => tls
                .certs
                .push(socktree_examples::value(&mut parser, "tls-cert")?),
            Long("tls-key") => tls
                .keys
                .push(socktree_examples::value(&mut parser, "tls-key")?),
            Long("client-ca") => {
                tls.client_ca = Some(socktree_examples::value(&mut parser, "client-ca")?);
            }
            Long("tls-provider") => {
                tls.provider = Some(socktree_examples::value(&mut parser, "tls-provider")?);
            }
            Long("quiet") => options.quiet = true,
            other => return Err(other.unexpected().to_string()),
        }
    }
    options.framing = parse_framing(&framing, max_frame)?;
    options.certs = tls.manager()?;
    Ok(options)
}

/// What the options say about TLS.
#[derive(Default)]
struct Tls {
    certs: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    client_ca: Option<PathBuf>,
    provider: Option<String>,
}

impl Tls {
    fn manager(self) -> Result<Option<CertManager>, String> {
        if self.certs.len() != self.keys.len() {
            return Err("each --tls-cert needs its --tls-key".into());
        }
        if self.certs.is_empty() {
            let without = self.client_ca.map(|_| "--client-ca");
            let without = without.or_else(|| self.provider.map(|_| "--tls-provider"));
            return without.map_or(Ok(None), |option| Err(format!("{option} needs --tls-cert")));
        }
        let mut manager = CertManager::builder();
        for (n, (cert, key)) in self.certs.into_iter().zip(self.keys).enumerate() {
            let which = if n == 0 {
                ServeFor::Default
            } else {
                ServeFor::ItsNames
            };
            manager = manager.files(which, cert, key);
        }
        if let Some(path) = self.client_ca {
            manager = manager.client_auth(ClientAuth::required_file(path));
        }
        match self.provider.as_deref() {
            None => {}
            Some("ring") => manager = manager.provider(Provider::Ring),
            #[cfg(feature = "aws-lc-rs")]
            Some("aws-lc-rs") => manager = manager.provider(Provider::AwsLcRs),
            Some(other) => return Err(format!("--tls-provider {other}: not in this build")),
        }
        let manager = manager.build().map_err(|error| error.to_string())?;
        Ok(Some(manager))
    }
}

fn parse_framing(text: &str, max_frame: Option<usize>) -> Result<Framing, String> {
    let prefix = |prefix: LengthPrefix| {
        // The length stays in front, so that what is sent back is a message again.
        let prefix = prefix.strip(false);
        max_frame
            .map_or_else(|| prefix.clone(), |max| prefix.clone().max_frame(max))
            .build()
    };
    let has_no_header = text == "raw" || text.starts_with("fixed:");
    if max_frame.is_some() && has_no_header {
        return Err(format!("--max-frame has no meaning with --framing {text}"));
    }
    let built: Result<Framing, FramingError> = match text.split_once(':') {
        None if text == "raw" => Ok(Framing::raw()),
        None if text == "u8" => prefix(LengthPrefix::u8()),
        None if text == "u16" => prefix(LengthPrefix::u16_be()),
        None if text == "u32" => prefix(LengthPrefix::u32_be()),
        Some(("fixed", len)) => {
            let len = len
                .parse()
                .map_err(|error| format!("--framing fixed:{len}: {error}"))?;
            Framing::fixed(len)
        }
        _ => {
            return Err(format!(
                "--framing {text}: not one of raw, fixed:N, u8, u16, u32"
            ));
        }
    };
    built.map_err(|error| format!("--framing {text}: {error}"))
}

fn main() -> ExitCode {
    let outcome = parse().and_then(|options| {
        socktree_examples::start_log(if options.quiet { "error" } else { "info" });
        let node = socktree::node("echo@localhost");
        let node = match options.threads {
            Some(threads) => node.workers(threads),
            None => node,
        };
        socktree_examples::run(node, Root { options })
    });
    socktree_examples::exit("echo", outcome)
}
