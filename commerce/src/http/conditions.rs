//! What a request says of itself in headers that change what it means.
//!
//! A condition that is overlooked is a change that its caller did not want, and a coding that is
//! overlooked is another body than was sent. So routes do not choose whether to look: what has no
//! versions refuses `If-Match`, and everything refuses a body that is coded.

use redeliver::http::Problem;
use redeliver::{Rejection, RejectionKind};
use warp::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, IF_MATCH};
use warp::http::{HeaderMap, StatusCode};

/// The versions that `If-Match` names; `None` is any, as without the header.
pub(super) fn if_version(headers: &HeaderMap) -> Result<Option<Vec<u64>>, Problem> {
    let values: Vec<_> = headers.get_all(IF_MATCH).iter().collect();
    if values.is_empty() {
        return Ok(None);
    }
    let texts: Option<Vec<&str>> = values.iter().map(|value| value.to_str().ok()).collect();
    // Several headers are one list.
    let text = texts.unwrap_or_default().join(",");
    if text.trim() == "*" {
        return Ok(None);
    }
    versions(&text).map(Some).ok_or_else(|| {
        Problem::bad_request(
            "send entity tags in If-Match as they stood in ETag, with a comma between two, or *",
        )
    })
}

/// Refuses a change of what has no versions, if it is for one of them.
pub(super) fn no_versions(headers: &HeaderMap) -> Result<(), Problem> {
    match if_version(headers)? {
        None => Ok(()),
        Some(_) => Err(Rejection::new(
            RejectionKind::Precondition,
            "no_versions",
            "what this changes has no versions that If-Match could be compared with; send it again \
             without If-Match",
        )
        .into()),
    }
}

/// Refuses a body in a coding: it would be read as something else than was sent.
pub(super) fn not_coded(headers: &HeaderMap) -> Result<(), Problem> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let plain = values.all(|value| {
        let codings = value.to_str().map(|text| text.split(','));
        codings.is_ok_and(|mut codings| {
            codings.all(|coding| {
                let coding = coding.trim();
                coding.is_empty() || coding.eq_ignore_ascii_case("identity")
            })
        })
    });
    if plain {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "Unsupported media type",
    )
    .detail("send the body as it is, without Content-Encoding; no coding is undone here")
    .header(ACCEPT_ENCODING, "identity"))
}

/// The versions in a list of entity tags; `None` if it is no such list. A tag that is weak or none
/// of ours is no version: `If-Match` compares strongly (RFC 9110).
fn versions(list: &str) -> Option<Vec<u64>> {
    let between = |c| matches!(c, ' ' | '\t' | ',');
    let mut versions = Vec::new();
    let mut rest = list.trim_start_matches(between);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let weak = rest.strip_prefix("W/");
        let (tag, after) = weak.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        let version = tag.parse().ok();
        // One version has one tag: `"07"` and `"+7"` are not the seventh.
        let version = version.filter(|version: &u64| version.to_string() == tag);
        if weak.is_none() {
            versions.extend(version);
        }
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches(between);
    }
    Some(versions)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_strong_tag_of_a_list_counts_and_no_weak_or_foreign_one_does() {
        for (list, found) in [
            (r#""5""#, &[5][..]),
            (r#""1", "2""#, &[1, 2]),
            (" ,\t\"1\" ,, W/\"2\",\"3\", ", &[1, 3]),
            (r#"W/"5""#, &[]),
            (r#""theirs", "a,b", """#, &[]),
            (r#""07", "+7", "-7", "99999999999999999999""#, &[]),
        ] {
            assert_eq!(versions(list).unwrap(), found, "{list}");
        }
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_not_guessed_at() {
        for list in [
            "",
            " , ",
            "5",
            "*",
            r#""5"#,
            r#""5" "6""#,
            r#"*, "5""#,
            r#"w/"5""#,
        ] {
            assert_eq!(versions(list), None, "{list}");
        }
    }
}
