//! Shows the first lines that a program prints, then ends it:
//!
//! ```sh
//! cargo run -p socktree-kernel --example child -- 3 yes supervised
//! ```
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use socktree_kernel::{
    Actor, BlockingMeta, Ctx, Flow, MetaHandle, NodeBuilder, Reason, Source, protocol,
};

/// What the program does.
enum Program {
    Prints(String),
    Ended(String),
}
protocol!(Program);

struct Head {
    left: usize,
    command: Command,
}

impl Actor for Head {
    type Msg = Program;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let mut child = self.command.stdout(Stdio::piped()).spawn()?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Reason::error("no pipe"))?;
        let child = Arc::new(Mutex::new(child));
        let same = Arc::clone(&child);
        let program = BlockingMeta::new(move |owner| follow(owner, output, &child));
        // However this process ends, the program ends before anyone is told.
        ctx.spawn_meta(program.on_exit(move || {
            let _ended_already = same.lock().unwrap_or_else(PoisonError::into_inner).kill();
        }))?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, program: Program) -> Flow {
        match program {
            Program::Prints(line) => println!("{line}"),
            Program::Ended(status) => {
                println!("it has ended: {status}");
                return Err(Reason::Normal);
            }
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            Ok(())
        } else {
            Err(Reason::Normal)
        }
    }
}

/// Reads until the program has closed its output, and sees it off.
fn follow(owner: &MetaHandle<Program>, output: ChildStdout, child: &Mutex<Child>) -> Flow {
    for line in BufReader::new(output).lines() {
        if owner.send(Program::Prints(line?)).is_err() {
            break; // nobody listens any more
        }
    }
    let status = loop {
        // Not `wait`: whoever wants to kill it meanwhile needs the lock.
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        drop(child);
        thread::yield_now();
    };
    let _nobody_listens = owner.send(Program::Ended(status.to_string()));
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let left = arguments
        .next()
        .ok_or("usage: child LINES PROGRAM [ARGUMENT..]")?;
    let mut command = Command::new(arguments.next().ok_or("which program?")?);
    command.args(arguments);
    let left = left.parse()?;
    NodeBuilder::new("child@localhost").run(Head { left, command })?;
    Ok(())
}
