//! `[test.NAME]`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ibuild_spec::parse_duration;
use regex::Regex;

use super::{all, optional};
use crate::draft::DraftTest;
use crate::keys;
use crate::machine_test::{Login, MachineTest, Plug, PlugError, Power, TestAction, TestStep};
use crate::names::{ImageName, MachineName, TestName};
use crate::report::Problem;
use crate::source::At;
use crate::suggest;
use crate::values::{Explained, Node, Table};

/// The keys of a step that say what it does.
const ACTIONS: [&str; 5] = ["expect", "type", "run", "screenshot", "power"];

impl Explained for PlugError {
    fn advice(&self) -> Cow<'static, str> {
        "the first adapter of the machine `gw` is `gw/0`".into()
    }
}

pub fn test(name: &TestName, node: Node<'_>) -> Option<DraftTest> {
    let what = format!("`[test.{name}]`");
    let table = node.table(&what, &keys::TEST)?;
    let machines = table.require(&what, "machines", "write `machines = { vm = \"IMAGE\" }`");
    let machines = machines.and_then(|node| machines_of(&node.entries()?));
    let expect = optional(&table, "expect", pattern);
    let login = optional(&table, "login", login);
    let timeout = optional(&table, "timeout", |node| node.parsed_by(parse_duration).map(|time| time.value));
    let files = optional(&table, "files", |node| all(node.array()?, Node::inner_path));
    let (machines, images) = machines?;
    let steps = optional(&table, "steps", |node| all(node.array()?, |node| step(node, &machines)));
    let plugs = |key| optional(&table, key, |node| all(node.array()?, |node| plug(node, &machines)));
    let (silent, heard) = (plugs("silent"), plugs("heard"));
    let files = files?.unwrap_or_default();
    let test = MachineTest {
        name: name.clone(),
        machines,
        expect: expect?,
        login: login?,
        files: files.iter().map(|file| file.value.clone()).collect(),
        steps: steps?.unwrap_or_default(),
        silent: silent?.unwrap_or_default(),
        heard: heard?.unwrap_or_default(),
        timeout: timeout?,
    };
    check_login(&table, &test);
    Some(DraftTest { test, images, files })
}

type Machines = BTreeMap<MachineName, ImageName>;

fn machines_of(table: &Table<'_>) -> Option<(Machines, Vec<At<ImageName>>)> {
    let mut machines = Machines::default();
    let mut images = Vec::new();
    let entries = table.entries();
    for (name, node) in table.named::<MachineName>() {
        if let Some(image) = node.parsed::<ImageName>() {
            machines.insert(name.value, image.value.clone());
            images.push(image);
        }
    }
    if entries.is_empty() {
        table.push(Problem::at(table.span(), "the test has no machines"));
    }
    (images.len() == entries.len() && !entries.is_empty()).then_some((machines, images))
}

fn login(node: Node<'_>) -> Option<Login> {
    let table = node.table("`login`", &keys::LOGIN)?;
    let hint = "write `login = { user = \"user\", password = \"changeme\" }`";
    let user = table.require("`login`", "user", hint).and_then(typed);
    let password = table.require("`login`", "password", hint).and_then(typed);
    Some(Login { user: user?, password: password? })
}

/// A text that can be typed: Enter ends it.
fn typed(node: Node<'_>) -> Option<String> {
    let text = node.text()?.value;
    if text.contains(char::is_control) {
        node.push(node.problem("a control character cannot be typed here"));
        return None;
    }
    Some(text)
}

fn pattern(node: Node<'_>) -> Option<String> {
    let text = node.text()?.value;
    if let Err(error) = Regex::new(&text) {
        node.push(node.problem(format!("`{text}` is not a regular expression: {error}")));
        return None;
    }
    Some(text)
}

fn step(node: Node<'_>, machines: &Machines) -> Option<TestStep> {
    let table = node.table("a step of a test", &keys::TEST_STEP)?;
    let on = table.require("a step of a test", "on", "write `on = \"MACHINE\"`");
    let on = on.and_then(|node| node.parsed::<MachineName>()).filter(|on| is_known(&table, on, machines));
    let found: Vec<_> = ACTIONS.into_iter().filter_map(|key| Some((key, table.get(key)?))).collect();
    let [(key, value)] = found.as_slice() else {
        let hint = format!("it has exactly one of {}", suggest::list(&ACTIONS));
        table.push(Problem::at(table.span(), format!("the step does {} things", found.len())).hint(hint));
        return None;
    };
    Some(TestStep { on: on?.value, action: action(key, *value)? })
}

fn action(key: &str, node: Node<'_>) -> Option<TestAction> {
    Some(match key {
        "expect" => TestAction::Expect(pattern(node)?),
        "type" => TestAction::Type(typed(node)?),
        "run" => TestAction::Run(node.text()?.value),
        // A file's name, so with the rules of a name.
        "screenshot" => TestAction::Screenshot(node.parsed::<TestName>()?.value.to_string()),
        _ => {
            let words = Power::ALL.map(|power| (power.word(), power));
            TestAction::Power(node.word("thing to do to the power", &words)?)
        }
    })
}

fn plug(node: Node<'_>, machines: &Machines) -> Option<Plug> {
    let plug = node.parsed::<Plug>()?;
    if machines.contains_key(&plug.value.machine) {
        return Some(plug.value);
    }
    let hint = suggest::hint(plug.value.machine.as_str(), machines.keys().map(MachineName::as_str));
    node.push(node.problem(format!("the test has no machine `{}`", plug.value.machine)).hint_if(hint));
    None
}

fn is_known(table: &Table<'_>, on: &At<MachineName>, machines: &Machines) -> bool {
    let known = machines.contains_key(&on.value);
    if !known {
        let hint = suggest::hint(on.value.as_str(), machines.keys().map(MachineName::as_str));
        table.push(
            Problem::at(on.at.clone(), format!("the test has no machine `{}`", on.value)).hint_if(hint),
        );
    }
    known
}

fn check_login(table: &Table<'_>, test: &MachineTest) {
    let runs = test.steps.iter().any(|step| matches!(step.action, TestAction::Run(_)));
    if runs && test.login.is_none() {
        let problem = Problem::at(table.span(), "a step runs a command, and nobody can log in");
        table.push(problem.hint("write `login = { user = \"...\", password = \"...\" }`"));
    }
}
