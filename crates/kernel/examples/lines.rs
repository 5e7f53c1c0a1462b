//! Counts the lines and words of the standard input, which a meta-process reads:
//!
//! ```sh
//! cargo run -p socktree-kernel --example lines < Cargo.toml
//! ```
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::io::{self, BufRead};

use socktree_kernel::{
    Actor, BlockingMeta, Ctx, Flow, MetaHandle, NodeBuilder, NodeError, Reason, Source, protocol,
};

/// What comes in. Its end is a message too: an exit signal would overtake the lines that wait.
enum Input {
    Line(String),
    End(io::Result<()>),
}
protocol!(Input);

#[derive(Default)]
struct Count {
    lines: usize,
    words: usize,
}

impl Actor for Count {
    type Msg = Input;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        ctx.spawn_meta(BlockingMeta::new(|owner| {
            let end = read(owner);
            Ok(owner.send(Input::End(end))?)
        }))?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, input: Input) -> Flow {
        match input {
            Input::Line(line) => {
                self.lines += 1;
                self.words += line.split_whitespace().count();
                Ok(())
            }
            Input::End(end) => {
                println!("{} lines, {} words", self.lines, self.words);
                end?;
                Err(Reason::Normal)
            }
        }
    }
}

fn read(owner: &MetaHandle<Input>) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        if owner.send(Input::Line(line?)).is_err() {
            break; // nobody listens any more
        }
    }
    Ok(())
}

fn main() -> Result<(), NodeError> {
    NodeBuilder::new("lines@localhost").run(Count::default())
}
