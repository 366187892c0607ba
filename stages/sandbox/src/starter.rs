//! Starts inits, one of them ahead: to load a program takes longer than all that its init has to do before the payload
//! can begin.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// How to start the program that calls [`init_main`](super::init_main) first thing.
#[derive(Debug, Clone)]
pub struct InitProgram {
    /// The program, usually this one.
    pub program: PathBuf,
    /// What makes it call `init_main`.
    pub arguments: Vec<String>,
}

/// An init and the socket to it. Dropped before its end, it is told to stop: init kills the sandbox, waits until the last
/// process is gone, and ends. Killing init itself would leave that to the kernel, a few milliseconds after this returns.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// Init finds the other end where others have their input.
    pub(super) control: UnixStream,
}

impl Running {
    fn start(init: &InitProgram) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&init.program);
        // The stage sees how its init was called, and is not to learn where that program lies.
        command.arg0("init").args(&init.arguments).env_clear().current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C and its like go to the whole group of a terminal's command. They are for the builder, which then says what
        // becomes of the stage; an init that died of them would look like one that was killed.
        command.process_group(0);
        Ok(Self { child: command.spawn()?, control })
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the namespaces are gone.
    pub(super) fn reap(&mut self) {
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An init that has ended does not hear this, and has nothing left to stop.
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        self.reap();
    }
}

/// Starts inits on a thread of its own, because the kernel kills an init with the thread that started it.
#[derive(Debug)]
pub(super) struct Starter {
    program: InitProgram,
    wishes: OnceLock<Sender<Wish>>,
}

enum Wish {
    /// For now.
    Init(Sender<io::Result<Running>>),
    /// For the next time.
    Spare,
}

impl Starter {
    pub(super) fn new(program: InitProgram) -> Self {
        Self { program, wishes: OnceLock::new() }
    }

    /// An init that waits for its order.
    pub(super) fn init(&self) -> io::Result<Running> {
        let (reply, answer) = channel();
        self.wish(Wish::Init(reply));
        answer.recv().map_err(|_| io::Error::other("the thread that starts it is gone"))?
    }

    /// Has an init started that waits until there is work for it, if none does.
    pub(super) fn get_ready(&self) {
        self.wish(Wish::Spare);
    }

    fn wish(&self, wish: Wish) {
        let wishes = self.wishes.get_or_init(|| {
            let (wishes, wished) = channel();
            let program = self.program.clone();
            // Without a thread nobody receives, and who waits for an answer hears of that.
            let _ = thread::Builder::new().name("inits".to_owned()).spawn(move || serve(&program, &wished));
            wishes
        });
        let _ = wishes.send(wish);
    }
}

fn serve(program: &InitProgram, wished: &Receiver<Wish>) {
    let mut spare: Option<Running> = None;
    for wish in wished {
        match wish {
            Wish::Init(reply) => {
                let alive = spare.take().and_then(|mut spare| spare.is_alive().then_some(spare));
                let _ = reply.send(alive.map_or_else(|| Running::start(program), Ok));
            }
            // Why it cannot be started is told to whoever needs one.
            Wish::Spare => spare = spare.or_else(|| Running::start(program).ok()),
        }
    }
}
