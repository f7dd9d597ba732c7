//! Products: what can be said about one, and when it may be shown.
//!
//! ```text
//! draft ──publish──▶ published ──unpublish──▶ unpublished
//!                        ▲───────publish──────────╯
//! ```
//!
//! Pure functions over values. A change that says nothing new leaves the product as it is, with
//! its version.

use std::collections::BTreeMap;

use redeliver::{KeyReader, Rejection, TableKey, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::requests::{Image, ProductView};
use crate::ids::{CategoryId, ProductId};
use crate::money::{Currency, Money, MoneyError};

/// Characters of a stock keeping unit at most.
pub const SKU_CHARS_MAX: usize = 64;
/// Characters of a name at most.
pub const NAME_CHARS_MAX: usize = 200;
/// Characters of a description at most.
pub const DESCRIPTION_CHARS_MAX: usize = 5_000;
/// Pictures of a product at most.
pub const IMAGES_MAX: usize = 20;
/// Characters of a picture's address at most.
pub const URL_CHARS_MAX: usize = 2_000;
/// Characters of a picture's description at most.
pub const ALT_CHARS_MAX: usize = 300;
/// Attributes of a product at most.
pub const ATTRIBUTES_MAX: usize = 50;
/// Characters of an attribute's name at most.
pub const ATTRIBUTE_CHARS_MAX: usize = 60;
/// Characters of an attribute's value at most.
pub const VALUE_CHARS_MAX: usize = 500;

/// Whether a product can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductStatus {
    /// Not yet.
    Draft,
    /// Yes.
    Published,
    /// Not any more.
    Unpublished,
}

impl ProductStatus {
    fn number(self) -> u8 {
        match self {
            ProductStatus::Draft => 0,
            ProductStatus::Published => 1,
            ProductStatus::Unpublished => 2,
        }
    }
}

impl TableKey for ProductStatus {
    fn write(&self, out: &mut Vec<u8>) {
        self.number().write(out);
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        let number = u8::read(from)?;
        [Self::Draft, Self::Published, Self::Unpublished]
            .into_iter()
            .find(|status| status.number() == number)
    }
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Its stock keeping unit.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// What there is to say about it.
    pub description: String,
    /// What one costs.
    pub price: Option<Money>,
    /// Where it is found.
    pub category_id: Option<CategoryId>,
    /// Whether it can be ordered.
    pub status: ProductStatus,
    /// Its pictures.
    pub images: Vec<Image>,
    /// What else is to be known of it, by name.
    pub attributes: BTreeMap<String, String>,
    /// How many prices it has had.
    pub prices: u64,
    /// 1 for a new product, one more with each change.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

impl Product {
    /// A draft.
    pub fn new(sku: String, name: String, description: String, at: Timestamp) -> Product {
        Product {
            sku,
            name,
            description,
            price: None,
            category_id: None,
            status: ProductStatus::Draft,
            images: Vec::new(),
            attributes: BTreeMap::new(),
            prices: 0,
            version: 1,
            created_at: at,
            updated_at: at,
        }
    }

    /// Whether it has this stock keeping unit, if one is said. It is what a product is known by
    /// and never changes.
    pub fn check_sku(&self, said: Option<&str>) -> Result<(), Rejection> {
        match said {
            Some(said) if said != self.sku => Err(Rejection::invalid(
                "sku_fixed",
                format!(
                    "the stock keeping unit of this product is {} and stays; leave `sku` out, or \
                     make another product",
                    self.sku
                ),
            )
            .with("field", "sku")),
            Some(_) | None => Ok(()),
        }
    }

    /// Puts it into a category, or out of it. Who can order a product can find it.
    pub fn categorise(&mut self, category: Option<CategoryId>) -> Result<(), Rejection> {
        if category.is_none() && self.status == ProductStatus::Published {
            return Err(Rejection::invalid(
                "category_missing",
                "a published product needs a category; give it one or unpublish it first",
            ));
        }
        self.category_id = category;
        Ok(())
    }

    /// Lets everybody see it.
    pub fn publish(&mut self, id: ProductId) -> Result<(), Rejection> {
        let missing = match (self.price, self.category_id) {
            (Some(_), Some(_)) => {
                self.status = ProductStatus::Published;
                return Ok(());
            }
            (None, Some(_)) => "price",
            (Some(_), None) => "category",
            (None, None) => "price and no category",
        };
        Err(Rejection::invalid(
            "product_incomplete",
            format!("product {id} has no {missing}; it needs both before it can be published"),
        ))
    }

    /// Hides it. A draft is hidden already.
    pub fn unpublish(&mut self) {
        self.status = match self.status {
            ProductStatus::Draft => ProductStatus::Draft,
            ProductStatus::Published | ProductStatus::Unpublished => ProductStatus::Unpublished,
        };
    }

    /// Shows these pictures; `replace` instead of all that were there.
    pub fn picture(&mut self, images: Vec<Image>, replace: bool) -> Result<(), Rejection> {
        if replace {
            self.images.clear();
        }
        for new in images {
            let new = image(new)?;
            match self.images.iter_mut().find(|image| image.url == new.url) {
                Some(same) => same.alt = new.alt,
                None => self.images.push(new),
            }
        }
        if self.images.len() > IMAGES_MAX {
            return Err(Rejection::invalid(
                "too_many_images",
                format!("a product has at most {IMAGES_MAX} images; send fewer in `images`"),
            ));
        }
        Ok(())
    }

    /// Sets these attributes, and takes away those without a value.
    pub fn attribute(
        &mut self,
        attributes: BTreeMap<String, Option<String>>,
    ) -> Result<(), Rejection> {
        for (name, value) in attributes {
            let name = text("attributes", &name, 1, ATTRIBUTE_CHARS_MAX)?;
            match value {
                Some(value) => {
                    let value = text(&name, &value, 1, VALUE_CHARS_MAX)?;
                    self.attributes.insert(name, value);
                }
                None => {
                    self.attributes.remove(&name);
                }
            }
        }
        if self.attributes.len() > ATTRIBUTES_MAX {
            return Err(Rejection::invalid(
                "too_many_attributes",
                format!("a product has at most {ATTRIBUTES_MAX} attributes; take some away"),
            ));
        }
        Ok(())
    }

    /// As the outside sees it.
    pub fn view(self, id: ProductId, available: u64) -> ProductView {
        ProductView {
            id,
            sku: self.sku,
            name: self.name,
            description: self.description,
            price: self.price,
            category_id: self.category_id,
            status: self.status,
            available,
            images: self.images,
            attributes: self.attributes,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// A stock keeping unit that can stand in an address and on a label.
pub fn sku(sku: &str) -> Result<String, Rejection> {
    let sane = (1..=SKU_CHARS_MAX).contains(&sku.len())
        && sku
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if sane {
        return Ok(sku.to_owned());
    }
    Err(Rejection::invalid(
        "invalid_sku",
        format!(
            "`sku` is none; use 1 to {SKU_CHARS_MAX} letters without accents, digits, `-`, `_` \
             and `.`"
        ),
    )
    .with("field", "sku"))
}

/// A name.
pub fn name(name: &str) -> Result<String, Rejection> {
    text("name", name, 1, NAME_CHARS_MAX)
}

/// A description, which may be empty.
pub fn description(description: &str) -> Result<String, Rejection> {
    text("description", description, 0, DESCRIPTION_CHARS_MAX)
}

/// A price in the shop's currency.
pub fn price(price: Money, currency: Currency) -> Result<Money, Rejection> {
    if price.currency != currency {
        return Err(MoneyError::CurrencyMismatch {
            left: price.currency,
            right: currency,
        }
        .into());
    }
    if price.amount <= 0 {
        return Err(Rejection::invalid(
            "invalid_price",
            format!("{price} is no price; use more than 0"),
        )
        .with("field", "price"));
    }
    Ok(price)
}

fn image(image: Image) -> Result<Image, Rejection> {
    let url = text("url", &image.url, 1, URL_CHARS_MAX)?;
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let sane = rest.is_some_and(|rest| !rest.is_empty())
        && url.bytes().all(|byte| byte.is_ascii_graphic());
    if !sane {
        return Err(Rejection::invalid(
            "invalid_image",
            "`url` is no address of an image; use one that begins with https://",
        )
        .with("field", "url"));
    }
    let alt = text("alt", &image.alt, 0, ALT_CHARS_MAX)?;
    Ok(Image { url, alt })
}

/// A text without the blanks around it, of so many characters and none that cannot be seen.
fn text(field: &str, text: &str, min: usize, max: usize) -> Result<String, Rejection> {
    let text = text.trim();
    let chars = text.chars().count();
    let refuse = |code: &str, why: String| {
        Err(Rejection::invalid(code, format!("`{field}` {why}")).with("field", field))
    };
    if !(min..=max).contains(&chars) {
        let why = format!("has {chars} characters; use {min} to {max}");
        return refuse("invalid_text", why);
    }
    let unseen = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if text.contains(unseen) {
        let why = "has control characters; leave them out".to_owned();
        return refuse("invalid_text", why);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    const ID: ProductId = ProductId(Uuid::from_u128(1));
    const SHELF: CategoryId = CategoryId(Uuid::from_u128(2));

    fn draft() -> Product {
        Product::new("MUG".into(), "Mug".into(), String::new(), Timestamp(0))
    }

    fn complete() -> Product {
        Product {
            price: Some(Money::new(999, Currency::EUR)),
            category_id: Some(SHELF),
            ..draft()
        }
    }

    #[test]
    fn publishing_names_what_is_missing() {
        let mut cases = [draft(), complete(), complete(), complete()];
        cases[1].price = None;
        cases[2].category_id = None;
        let said = cases.map(|mut product| match product.publish(ID) {
            Ok(()) => {
                assert_eq!(product.status, ProductStatus::Published);
                String::new()
            }
            Err(refused) => {
                assert_eq!(product.status, ProductStatus::Draft);
                assert_eq!(refused.code, "product_incomplete");
                refused.message
            }
        });
        assert!(said[0].contains("no price and no category"), "{}", said[0]);
        assert!(said[1].contains("no price;"), "{}", said[1]);
        assert!(said[2].contains("no category;"), "{}", said[2]);
        assert_eq!(said[3], "");
    }

    #[test]
    fn a_draft_stays_a_draft_and_what_was_shown_is_hidden_and_shown_again() {
        let mut product = complete();
        product.unpublish();
        assert_eq!(product.status, ProductStatus::Draft);
        product.publish(ID).unwrap();
        product.unpublish();
        assert_eq!(product.status, ProductStatus::Unpublished);
        product.publish(ID).unwrap();
        assert_eq!(product.status, ProductStatus::Published);
    }

    #[test]
    fn a_published_product_keeps_a_category() {
        let mut product = complete();
        product.categorise(None).unwrap();
        product.categorise(Some(SHELF)).unwrap();
        product.publish(ID).unwrap();
        assert_eq!(
            product.categorise(None).unwrap_err().code,
            "category_missing"
        );
        assert_eq!(product.category_id, Some(SHELF));
    }

    #[test]
    fn only_money_of_the_shop_above_zero_is_a_price() {
        let code = |amount, currency: &str| {
            let money = Money::new(amount, currency.parse().unwrap());
            price(money, Currency::EUR).err().map(|error| error.code)
        };
        assert_eq!(code(1, "EUR"), None);
        assert_eq!(code(i64::MAX, "EUR"), None);
        assert_eq!(code(0, "EUR").as_deref(), Some("invalid_price"));
        assert_eq!(code(-1, "EUR").as_deref(), Some("invalid_price"));
        assert_eq!(code(1, "USD").as_deref(), Some("foreign_currency"));
    }

    #[test]
    fn texts_have_limits() {
        assert_eq!(name("  Mug ").unwrap(), "Mug");
        assert_eq!(name(&"ä".repeat(200)).unwrap().chars().count(), 200);
        for bad in [
            String::new(),
            " ".to_owned(),
            "x".repeat(201),
            "a\0b".to_owned(),
        ] {
            assert_eq!(name(&bad).unwrap_err().code, "invalid_text");
        }
        assert_eq!(description("").unwrap(), "");
        assert!(description(&"x".repeat(5_001)).is_err());
        assert!(sku("MUG-1_a.B").is_ok());
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert_eq!(sku(bad).unwrap_err().code, "invalid_sku", "{bad}");
        }
    }

    #[test]
    fn pictures_are_added_replaced_and_limited() {
        let picture = |url: &str, alt: &str| Image {
            url: url.to_owned(),
            alt: alt.to_owned(),
        };
        let mut mug = draft();
        mug.picture(vec![picture("https://x.example/1", "front")], false)
            .unwrap();
        mug.picture(vec![picture("https://x.example/1", "side")], false)
            .unwrap();
        assert_eq!(mug.images, [picture("https://x.example/1", "side")]);
        for url in ["", "ftp://x", "https://", "https://a b", "javascript:x"] {
            assert!(
                mug.picture(vec![picture(url, "")], false).is_err(),
                "{url:?}"
            );
        }
        let many = (0..21).map(|n| picture(&format!("https://x.example/{n}"), ""));
        let refused = draft().picture(many.collect(), true).unwrap_err();
        assert_eq!(refused.code, "too_many_images");
        mug.picture(Vec::new(), true).unwrap();
        assert!(mug.images.is_empty());
    }

    #[test]
    fn attributes_are_set_taken_away_and_limited() {
        let mut mug = draft();
        let set = |name: &str, value: Option<&str>| -> BTreeMap<String, Option<String>> {
            [(name.to_owned(), value.map(str::to_owned))].into()
        };
        mug.attribute(set("colour", Some("blue"))).unwrap();
        mug.attribute(set("size", Some("L"))).unwrap();
        mug.attribute(set("colour", None)).unwrap();
        assert_eq!(mug.attributes, [("size".to_owned(), "L".to_owned())].into());
        assert!(mug.attribute(set("", Some("x"))).is_err());
        assert!(mug.attribute(set("x", Some(""))).is_err());
        let many = (0..51).map(|n| (format!("a{n}"), Some("x".to_owned())));
        let refused = mug.attribute(many.collect()).unwrap_err();
        assert_eq!(refused.code, "too_many_attributes");
    }
}
