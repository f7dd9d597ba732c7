//! Words: how a text is taken apart for the search, the same for products and for what is sought.

use std::collections::BTreeSet;

use redeliver::Rejection;

use super::product::Product;

/// Characters of a word that count; what follows does not.
pub const WORD_CHARS_MAX: usize = 40;
/// Different words of one product that can be found; further ones cannot.
pub const WORDS_MAX: usize = 500;
/// Characters of what is sought at most.
pub const SOUGHT_CHARS_MAX: usize = 200;

/// What is sought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sought {
    /// Words that a product must have.
    pub whole: BTreeSet<String>,
    /// How one of its words must begin.
    pub beginning: Option<String>,
}

impl Sought {
    /// What a text asks for; `None` if it asks for nothing.
    pub fn in_text(text: &str) -> Result<Option<Sought>, Rejection> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let chars = text.chars().count();
        if chars > SOUGHT_CHARS_MAX {
            return Err(Rejection::invalid(
                "search_too_long",
                format!(
                    "the search has {chars} characters; use at most {SOUGHT_CHARS_MAX} of them"
                ),
            ));
        }
        let mut words: Vec<String> = split(text).collect();
        let beginning = words.pop();
        if beginning.is_none() {
            return Err(Rejection::invalid(
                "search_without_words",
                "the search has no letter and no digit; use words of what you seek",
            ));
        }
        Ok(Some(Sought {
            whole: words.into_iter().collect(),
            beginning,
        }))
    }

    /// Whether a product with these words is found.
    pub fn finds(&self, words: &BTreeSet<String>) -> bool {
        let begins = |beginning: &String| {
            let first = words.range(beginning.clone()..).next();
            first.is_some_and(|word| word.starts_with(beginning.as_str()))
        };
        self.whole.is_subset(words) && self.beginning.as_ref().is_none_or(begins)
    }
}

/// The words under which a product is found. Those of its stock keeping unit and its name go
/// first, so that a long description cannot push them out.
pub fn of_product(product: &Product) -> BTreeSet<String> {
    let texts = [&product.sku, &product.name, &product.description];
    let mut words = BTreeSet::new();
    for word in texts.into_iter().flat_map(|text| split(text)) {
        if words.len() == WORDS_MAX {
            break;
        }
        words.insert(word);
    }
    words
}

fn split(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| {
            let lower = word.chars().flat_map(char::to_lowercase);
            lower.take(WORD_CHARS_MAX).collect()
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> BTreeSet<String> {
        split(text).collect()
    }

    fn finds(sought: &str, text: &str) -> bool {
        let sought = Sought::in_text(sought).unwrap().unwrap();
        sought.finds(&words(text))
    }

    #[test]
    fn all_words_must_be_there_and_the_last_may_be_the_beginning_of_one() {
        let mug = "MUG-BLUE Blue mug, glazed by Änne";
        for sought in [
            "mug",
            "MUG-BLUE",
            "blue mu",
            "m",
            "mug blue glaz",
            "änn",
            " gla ",
        ] {
            assert!(finds(sought, mug), "{sought}");
        }
        for sought in ["mu blue", "mug red", "lazed", "mugs", "blue-mug-x"] {
            assert!(!finds(sought, mug), "{sought}");
        }
    }

    #[test]
    fn a_text_without_words_is_refused_and_an_empty_one_asks_for_nothing() {
        assert_eq!(Sought::in_text(" ").unwrap(), None);
        let code = |text: &str| Sought::in_text(text).unwrap_err().code;
        assert_eq!(code("?!"), "search_without_words");
        assert_eq!(code(&"x".repeat(201)), "search_too_long");
    }

    #[test]
    fn long_words_are_found_by_what_counts_of_them() {
        let long = "x".repeat(100);
        assert!(finds(&long, &long));
        assert!(finds(&format!("{long} mug"), &format!("{long} mug")));
    }
}
