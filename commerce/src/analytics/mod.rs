//! The analytics service: figures, counted from what the others say.
