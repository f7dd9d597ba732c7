//! The catalog service: what the shop shows and for how much.

pub mod messages;
pub mod service;

pub use messages::{
    ProductCreated, ProductPriceChanged, ProductPublished, ProductUnpublished, ProductUpdated,
    ProductViewed,
};
pub use service::Catalog;
