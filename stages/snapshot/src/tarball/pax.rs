//! PAX records: `LENGTH KEY=VALUE\n`, where the length counts itself. POSIX.1-2001, pax, "pax Extended Header".

use std::collections::BTreeMap;

/// Records by key.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Prefix of the records that hold extended attributes.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// The payload of an extended header.
pub(super) fn encode(records: &Records) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        out.extend_from_slice(length.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(key);
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

/// The inverse of [`encode`]; `None` if the payload is damaged.
pub(super) fn decode(mut payload: &[u8]) -> Option<Records> {
    let mut records = Records::new();
    while !payload.is_empty() {
        let space = payload.iter().position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&payload[..space]).ok()?.parse().ok()?;
        let record = payload.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        records.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        payload = &payload[length..];
    }
    Some(records)
}

/// The key of an attribute's record. `=` ends a key, so it is written as GNU tar reads it; other programs see what is
/// written. So `%` is written in another way only where it would be read as another byte.
pub(super) fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = XATTR.to_vec();
    for (at, byte) in name.iter().enumerate() {
        match byte {
            b'%' if name[at..].starts_with(b"%25") || name[at..].starts_with(b"%3D") => {
                key.extend_from_slice(b"%25");
            }
            b'=' => key.extend_from_slice(b"%3D"),
            _ => key.push(*byte),
        }
    }
    key
}

/// The attribute that a record's key names, if it names one.
pub(super) fn xattr_name(key: &[u8]) -> Option<Vec<u8>> {
    let mut rest = key.strip_prefix(XATTR)?;
    let mut name = Vec::with_capacity(rest.len());
    while let Some((first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'%', [b'2', b'5', tail @ ..]) => (b'%', tail),
            (b'%', [b'3', b'D', tail @ ..]) => (b'=', tail),
            _ => (*first, tail),
        };
        name.push(byte);
        rest = tail;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&[u8], &[u8])]) -> Records {
        pairs.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
    }

    #[test]
    fn lengths_count_themselves() {
        let record = |length: usize| encode(&records(&[(b"k", &vec![b'v'; length])]));
        assert_eq!(record(1), b"6 k=v\n");
        // The second digit, then the third, pushes the length over the next power of ten.
        assert!(record(4).starts_with(b"9 k=") && record(5).starts_with(b"11 k="));
        assert!(record(93).starts_with(b"99 k=") && record(94).starts_with(b"101 k="));
    }

    #[test]
    fn binary_values_survive() {
        for length in 0..200 {
            let value: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let records = records(&[(b"a", &value), (b"b", b"\n=\n")]);
            assert_eq!(decode(&encode(&records)), Some(records));
        }
        assert_eq!(decode(b"9 a=b\n"), None);
        assert_eq!(decode(b"x"), None);
    }

    #[test]
    fn names_with_an_equals_sign_survive() {
        for name in [&b"user.a=b%"[..], b"user.%3D", b"user.%2525", b"user.%%3D%2=", b"security.capability"] {
            assert_eq!(xattr_name(&xattr_key(name)).as_deref(), Some(name));
        }
        assert_eq!(xattr_key(b"user.50%"), b"SCHILY.xattr.user.50%");
    }
}
