//! The fewest edits of the simplest project with which a fault is still there.

use crate::archive::Archives;
use crate::choices::Choices;
use crate::compare::{Fault, Look, Sequence};
use crate::edits::Edit;

/// Projects that are tried for one that fails: each is built several times.
const TRIES: usize = 60;

/// A project and edits after which something does not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    pub begun: Choices,
    pub edits: Vec<Edit>,
    pub fault: Fault,
    /// The recipe in the end.
    pub recipe: String,
}

/// Makes a failure smaller, as long as the same kind of fault is left.
pub fn shrink(archives: &Archives, failure: Failure) -> Failure {
    let mut search = Search { archives, failure, tries: TRIES };
    for dropped in (0..search.failure.edits.len().saturating_sub(1)).rev() {
        let Failure { begun, mut edits, .. } = search.failure.clone();
        edits.remove(dropped);
        search.attempt(begun, edits);
    }
    search.simplify();
    search.failure
}

struct Search<'a> {
    archives: &'a Archives,
    failure: Failure,
    tries: usize,
}

impl Search<'_> {
    /// Takes choices back, first many at a time.
    fn simplify(&mut self) {
        let mut size = self.failure.begun.addresses().len();
        while size > 0 {
            let addresses: Vec<_> = self
                .failure
                .begun
                .addresses()
                .into_iter()
                .filter(|it| !is_simple(&self.failure.begun, it))
                .collect();
            for some in addresses.chunks(size) {
                let Failure { mut begun, edits, .. } = self.failure.clone();
                some.iter().for_each(|address| begun.set(address, simplest(address)));
                self.attempt(begun, edits);
            }
            size /= 2;
        }
    }

    fn attempt(&mut self, begun: Choices, edits: Vec<Edit>) {
        if self.tries == 0 {
            return;
        }
        self.tries -= 1;
        if let Some(failure) = fails(self.archives, begun, edits)
            && failure.fault.is_like(&self.failure.fault)
        {
            self.failure = failure;
        }
    }
}

/// Steps go, everything else becomes the first of its values.
fn simplest(address: &str) -> usize {
    usize::from(address.ends_with(" shown"))
}

fn is_simple(choices: &Choices, address: &str) -> bool {
    choices.get(address) == simplest(address)
}

/// Looks at what the last of the edits leads to.
fn fails(archives: &Archives, begun: Choices, edits: Vec<Edit>) -> Option<Failure> {
    let Some((last, before)) = edits.split_last() else {
        let fault = Sequence::begin(archives, &begun).err()?;
        return Some(Failure { begun, edits, fault, recipe: String::new() });
    };
    let mut sequence = Sequence::begin(archives, &begun).ok()?;
    before.iter().try_for_each(|edit| sequence.edit(edit, Look::Build)).ok()?;
    let fault = sequence.edit(last, Look::Compare).err()?;
    Some(Failure { begun, fault, recipe: sequence.recipe(), edits })
}
