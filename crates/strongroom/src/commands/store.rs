//! `store`: the place of a vault, apart from the vault.

use clap::{Args, Subcommand};
use serde_json::json;
use store::probe::{Tried, probe_blocking};

use crate::access::Place;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};

/// Try what a store allows
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true)]
pub struct Store {
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Debug, Subcommand)]
enum StoreVerb {
    /// Try every right that a vault needs, and say what is missing and how to mend it
    Test(Test),
}

#[derive(Args, Debug)]
struct Test {
    /// The store; the vault's when none is named
    #[arg(value_name = "URL|PATH")]
    location: Option<String>,
}

impl Store {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let StoreVerb::Test(test) = &self.verb;
        let mut global = global.clone();
        global.vault = test.location.clone().or(global.vault);
        let place = Place::of(&global)?;
        let tried = probe_blocking(place.open_bare()?).map_err(::backup::Error::from)?;
        for tried in &tried {
            show(tried, output);
        }
        let problems = tried.iter().filter(|tried| tried.problem.is_some()).count();
        let code = if problems == 0 { exit::DONE } else { exit::FAILED };
        output.say(&match problems {
            0 => format!("{} can hold a vault.", place.shown()),
            _ => format!("{} lacks something; see above.", place.shown()),
        });
        output.summary("store test", code, json!({ "location": place.shown(), "problems": problems }));
        Ok(code)
    }
}

fn show(tried: &Tried, output: &Output) {
    let problem = tried.problem.as_ref();
    let cause = problem
        .and_then(|problem| std::error::Error::source(problem.error.as_ref()?))
        .map(ToString::to_string);
    output.event(&json!({
        "type": "tried", "need": tried.need.words(), "works": problem.is_none(),
        "message": problem.map(|problem| &problem.message), "cause": cause,
        "remedy": problem.map(|problem| &problem.remedy),
    }));
    if output.json {
        return;
    }
    let Some(problem) = problem else { return output.line(&format!("ok      {}", tried.need.words())) };
    output.line(&format!("FAILED  {}: {}", tried.need.words(), output::path(problem.message.as_bytes())));
    if let Some(cause) = cause {
        output.line(&format!("          because: {}", output::path(cause.as_bytes())));
    }
    output.line(&format!("          remedy: {}", problem.remedy));
}
