//! `fetch`: files from elsewhere, in order; later ones win. Nothing is fetched here: what a file is, its digest says, and only
//! a stage that runs needs its bytes.

use std::path::PathBuf;

use ibuild_graph::Value;

use super::StepRequest;
use super::copy::{account_value, copy_step, mode_value};
use crate::StageError;
use crate::executor::fetched::{FetchedFile, RequiredSignature};
use crate::executor::resolved::ResolvedStep;
use crate::fields::{FETCH, FETCH_CONTENT};
use crate::packages::PinnedFile;
use crate::recipe::{Account, FetchForm, FetchRule, Signature};
use crate::sandbox::{CopyItem, CopySource, FetchedForm, Look};

const IMPLEMENTATION: i64 = 1;

pub(super) fn resolve(
    request: &StepRequest<'_, '_>,
    rules: &[FetchRule],
) -> Result<ResolvedStep, StageError> {
    let (mut described, mut items, mut fetched) = (Vec::new(), Vec::new(), Vec::new());
    for (number, rule) in rules.iter().enumerate() {
        // A number in front keeps the order, and the place in messages.
        described.push((format!("{number} to {}", rule.to), describe_rule(rule)));
        items.push(item(rule));
        fetched.push(file(rule));
    }
    let resolved = copy_step(request, "fetch", IMPLEMENTATION, items)?;
    let program = "what was fetched".to_owned();
    Ok(ResolvedStep { request: vec![(FETCH, Value::map(described))], program, fetched, ..resolved })
}

/// No address is in a key. The keys of a signature are: another one may not have signed what is in the store.
fn describe_rule(rule: &FetchRule) -> Value {
    let FetchRule { urls: _, sha256, to, form, owner, group, signature } = rule;
    let (mode, strip) = match form {
        FetchForm::File { mode } => (Some(*mode), None),
        FetchForm::Archive { strip } => (None, Some(*strip)),
    };
    let signers = signature.as_ref().map(|signature| {
        let Signature { urls: _, key: _, keyring } = signature;
        Value::Digest(*keyring.digest().as_bytes())
    });
    Value::map([
        (FETCH_CONTENT, Value::Digest(*sha256.as_bytes())),
        ("to", to.as_str().into()),
        ("mode", mode_value(mode)),
        ("unpacked without directories", Value::option(strip.map(|strip| i64::from(strip).into()))),
        ("owner", account_value(owner)),
        ("group", account_value(group)),
        ("keys of its signers", Value::option(signers)),
    ])
}

fn item(rule: &FetchRule) -> CopyItem {
    let (form, mode) = match rule.form {
        FetchForm::File { mode } => (FetchedForm::File, Some(mode)),
        FetchForm::Archive { strip } => (FetchedForm::Archive { strip }, None),
    };
    let name = |account: &Option<Account>| account.as_ref().map(Account::to_string);
    let look = Look { owner: name(&rule.owner), group: name(&rule.group), mode, dirs: None };
    CopyItem { source: CopySource::Fetched { content: rule.sha256, form, look }, to: PathBuf::from(&rule.to) }
}

fn file(rule: &FetchRule) -> FetchedFile {
    let required = |signature: &Signature| RequiredSignature {
        urls: signature.urls.clone(),
        key: signature.key.clone(),
        keyring: signature.keyring.clone(),
    };
    FetchedFile {
        file: PinnedFile { sha256: rule.sha256, urls: rule.urls.clone() },
        signature: rule.signature.as_ref().map(required),
    }
}
