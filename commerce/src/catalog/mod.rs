//! The catalog service: what the shop shows and for how much.
//!
//! A product begins as a draft. Published, everybody sees it and can order it; order and
//! inventory follow what is said of it here and keep their own books.
//!
//! ```text
//! people ──▶ service ──▶ product, category ──▶ ProductCreated, ProductPriceChanged, … ──▶ order
//!                             │                                                     ╰──▶ inventory
//! buyers ──▶ listing ◀── words, prices, availability ◀── what inventory says
//! ```

pub mod availability;
pub mod category;
pub mod listing;
pub mod messages;
pub mod product;
pub mod requests;
pub mod service;
pub mod tables;
pub mod words;

pub use messages::{
    ProductCreated, ProductPriceChanged, ProductPublished, ProductUnpublished, ProductUpdated,
    ProductViewed,
};
pub use product::ProductStatus;
pub use requests::{
    CategoriesList, CategoryView, ChangeAttributes, ChangeImages, ChangePrice, CreateCategory,
    CreateProduct, Image, NoteView, PriceView, PricesOfProduct, ProductById, ProductBySku,
    ProductView, ProductsList, PublishProduct, UnpublishProduct, UpdateCategory, UpdateProduct,
};
pub use service::Catalog;

#[cfg(test)]
mod tests;
