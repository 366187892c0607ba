//! Bytes of which no format is known.

use crate::{Cause, Finding, words};

/// Bytes that are shown of each version.
const SHOWN: usize = 16;

/// The number of the first byte that differs, and what stands there.
pub(crate) fn find(old: &[u8], new: &[u8], now: i64) -> Finding {
    let common = old.len().min(new.len());
    let differs = |at: &usize| old[*at] != new[*at];
    let first = (0..common).find(differs).unwrap_or(common);
    let count = (first..common).filter(differs).count() + old.len().abs_diff(new.len());
    let mut lines =
        vec![format!("{count} of {} bytes differ, the first at {first}", new.len().max(old.len()))];
    lines.extend([("-", old), ("+", new)].map(|(sign, bytes)| format!("{sign}{}", hex(bytes, first))));
    Finding::new("binary", lines, cause(old, new, first, now))
}

fn hex(bytes: &[u8], from: usize) -> String {
    let part = &bytes[from.min(bytes.len())..(from + SHOWN).min(bytes.len())];
    let hex: Vec<_> = part.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = part.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' });
    format!("{}  {}", hex.join(" "), text.collect::<String>())
}

/// A time in seconds as a number of four or eight bytes, a text inside, or random bytes from the first to the last.
fn cause(old: &[u8], new: &[u8], first: usize, now: i64) -> Option<Cause> {
    if let Some(cause) = words::cause(&[(printable(old, first), printable(new, first))], now) {
        return Some(cause);
    }
    if numbers(old, first).any(|number| words::is_about(number, now))
        && numbers(new, first).any(|number| words::is_about(number, now))
    {
        return Some(Cause::Clock);
    }
    is_noise(old, new).then_some(Cause::RandomBytes)
}

/// The printable characters around a place.
fn printable(bytes: &[u8], at: usize) -> String {
    let is_text = |byte: &&u8| byte.is_ascii_graphic() || **byte == b' ';
    let before: Vec<_> = bytes[..at.min(bytes.len())].iter().rev().take_while(is_text).copied().collect();
    let after = bytes[at.min(bytes.len())..].iter().take_while(is_text).copied();
    before.into_iter().rev().chain(after).map(char::from).collect()
}

/// Numbers that the differing byte may be part of, in both byte orders.
fn numbers(bytes: &[u8], first: usize) -> impl Iterator<Item = i64> + '_ {
    let starts = first.saturating_sub(3)..=first;
    let word = |at: usize| bytes.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok());
    starts
        .filter_map(word)
        .flat_map(|word| [i64::from(u32::from_le_bytes(word)), i64::from(u32::from_be_bytes(word))])
}

/// Of random bytes one in 256 is equal by chance.
fn is_noise(old: &[u8], new: &[u8]) -> bool {
    let equal = old.iter().zip(new).filter(|(a, b)| a == b).count();
    old.len() == new.len() && old.len() >= 8 && equal * 16 <= old.len()
}
