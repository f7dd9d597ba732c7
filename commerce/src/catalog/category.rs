//! Categories: where products are found.

use redeliver::{Rejection, Timestamp};
use serde::{Deserialize, Serialize};

use super::product;
use super::requests::CategoryView;
use crate::ids::CategoryId;

/// A category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Its name.
    pub name: String,
    /// What is found in it.
    pub description: String,
    /// 1 for a new category, one more with each change.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

impl Category {
    /// A new one.
    pub fn new(name: &str, description: &str, at: Timestamp) -> Result<Category, Rejection> {
        Ok(Category {
            name: product::name(name)?,
            description: product::description(description)?,
            version: 1,
            created_at: at,
            updated_at: at,
        })
    }

    /// The same described otherwise; itself if nothing is said that is new.
    pub fn described(
        self,
        name: &str,
        description: &str,
        at: Timestamp,
    ) -> Result<Category, Rejection> {
        let (name, description) = (product::name(name)?, product::description(description)?);
        if name == self.name && description == self.description {
            return Ok(self);
        }
        Ok(Category {
            name,
            description,
            version: self.version + 1,
            created_at: self.created_at,
            updated_at: at,
        })
    }

    /// As the outside sees it.
    pub fn view(self, id: CategoryId) -> CategoryView {
        CategoryView {
            id,
            name: self.name,
            description: self.description,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}
