//! A pattern that a body must match: compiled once, searched for at once where that is cheap whatever the body, else in steps.
//!
//! The regex crate cannot be interrupted, and a body that is made for it makes it slow. So it searches where states times bytes, the
//! most that it can take, are few. All else is searched for here, in steps that can be stopped between: first by an automaton that is
//! built as it goes and gives up when it grows too large, which few bodies make it do, then state by state.

use std::fmt;
use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::hybrid::dfa::{Config as LazyConfig, DFA};
use regex_automata::nfa::thompson::{Compiler, Config, NFA, State, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Input, hybrid};

/// What a compiled pattern may take; the default of 10 MB a target is more than a mistake should cost.
const SIZE_LIMIT: usize = 1 << 20;
/// What each automaton that is built as it goes may take. The regex crate keeps its own for ever.
const LAZY_LIMIT: usize = 256 << 10;
/// States times bytes that are searched at once: some milliseconds at worst, and microseconds as a rule.
const CHEAP: usize = 500_000;

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    /// How many states a search may be in after each byte; of a fixed text, one.
    states: usize,
    /// For the search in steps, once there has been one.
    automaton: OnceLock<Option<Automaton>>,
}

#[derive(Debug)]
struct Automaton {
    nfa: NFA,
    lazy: Option<DFA>,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn compile(text: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(text).size_limit(SIZE_LIMIT).dfa_size_limit(LAZY_LIMIT).build();
        let regex = regex.map_err(|error| {
            // The last line of the report says what is wrong; those before draw where.
            let report = error.to_string();
            report.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        let fixed = syntax::parse(text).is_ok_and(|parsed| parsed.properties().is_alternation_literal());
        let states = if fixed { 1 } else { nfa(text)?.states().len() };
        Ok(Self { regex, states, automaton: OnceLock::new() })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether a body matches, if that is cheap to find out.
    pub fn search_at_once(&self, body: &[u8]) -> Option<bool> {
        let cost = self.states.saturating_mul(body.len());
        (cost <= CHEAP).then(|| self.regex.is_match(body))
    }

    /// What a search in steps holds in memory at most, beside the body, in bytes.
    pub fn search_bytes(&self) -> usize {
        self.states * (3 * size_of::<StateID>() + size_of::<usize>())
    }

    fn automaton(&self) -> Option<&Automaton> {
        let build = || {
            let nfa = nfa(self.as_str()).ok()?;
            let config = LazyConfig::new()
                .cache_capacity(LAZY_LIMIT)
                .minimum_cache_clear_count(Some(0))
                .unicode_word_boundary(true);
            let lazy = DFA::builder().configure(config).build_from_nfa(nfa.clone()).ok();
            Some(Automaton { nfa, lazy })
        };
        self.automaton.get_or_init(build).as_ref()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The pattern as the regex crate understands it.
fn nfa(text: &str) -> Result<NFA, String> {
    Compiler::new()
        .syntax(syntax::Config::new().utf8(false))
        .configure(Config::new().utf8(false).which_captures(WhichCaptures::None))
        .build(text)
        .map_err(|error| error.to_string())
}

/// A search that is under way.
#[derive(Debug, Default)]
pub struct Search {
    begun: bool,
    /// How many bytes have been read.
    at: usize,
    /// The states after them that read on.
    states: Vec<StateID>,
    /// An empty list, so that none is allocated for each byte.
    spare: Vec<StateID>,
    /// For each state one more than how many bytes had been read when it was last reached.
    reached: Vec<usize>,
    /// States whose followers are still to be reached.
    pending: Vec<StateID>,
    /// How many states were reached in this step.
    work: usize,
}

impl Search {
    /// Goes on until about so many states have been reached; whether the body matches, once that is known.
    pub fn step(&mut self, pattern: &Pattern, body: &[u8], work: usize) -> Option<bool> {
        if pattern.states == 1 {
            return Some(pattern.regex.is_match(body));
        }
        // It was built before; were it not to be built again, there would be no other way than this.
        let Some(automaton) = pattern.automaton() else { return Some(pattern.regex.is_match(body)) };
        if !self.begun {
            self.begun = true;
            if let Some(found) = automaton.lazy.as_ref().and_then(|lazy| search_lazily(lazy, body)) {
                return Some(found);
            }
            self.reached = vec![0; automaton.nfa.states().len()];
            if self.reach(&automaton.nfa, automaton.nfa.start_unanchored(), body) {
                return Some(true);
            }
            return None;
        }
        self.work = 0;
        while self.work <= work {
            if self.at == body.len() || self.states.is_empty() {
                return Some(false);
            }
            if self.read(&automaton.nfa, body) {
                return Some(true);
            }
        }
        None
    }

    /// Reads one byte; whether that makes a match.
    fn read(&mut self, nfa: &NFA, body: &[u8]) -> bool {
        let byte = body[self.at];
        self.at += 1;
        let mut states = std::mem::replace(&mut self.states, std::mem::take(&mut self.spare));
        self.work += states.len();
        let found = states.iter().any(|&state| {
            let next = match nfa.state(state) {
                State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
                State::Sparse(ranges) => ranges.matches_byte(byte),
                State::Dense(table) => table.matches_byte(byte),
                _ => None,
            };
            next.is_some_and(|next| self.reach(nfa, next, body))
        });
        states.clear();
        self.spare = states;
        found
    }

    /// Notes a state, and those that follow it without a byte; whether a match is among them.
    fn reach(&mut self, nfa: &NFA, state: StateID, body: &[u8]) -> bool {
        self.pending.push(state);
        while let Some(state) = self.pending.pop() {
            let stamp = &mut self.reached[state.as_usize()];
            if *stamp == self.at + 1 {
                continue;
            }
            *stamp = self.at + 1;
            self.work += 1;
            match nfa.state(state) {
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) => self.states.push(state),
                State::Look { look, next } if nfa.look_matcher().matches(*look, body, self.at) => {
                    self.pending.push(*next);
                }
                State::Union { alternates } => self.pending.extend(alternates.iter()),
                State::BinaryUnion { alt1, alt2 } => self.pending.extend([alt1, alt2]),
                State::Capture { next, .. } => self.pending.push(*next),
                State::Match { .. } => return true,
                State::Look { .. } | State::Fail => {}
            }
        }
        false
    }
}

/// Searches with an automaton that is built as it goes; nothing when it has grown too large, or cannot tell.
fn search_lazily(lazy: &DFA, body: &[u8]) -> Option<bool> {
    let mut cache = hybrid::dfa::Cache::new(lazy);
    lazy.try_search_fwd(&mut cache, &Input::new(body).earliest(true)).ok().map(|matched| matched.is_some())
}

#[cfg(test)]
mod tests;
