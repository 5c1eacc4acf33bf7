//! Every route that MLflow has, what it needs, and where the ids are.
