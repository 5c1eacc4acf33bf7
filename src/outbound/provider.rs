//! The one HTTP client for identity providers: own roots, time limits, size limits, no redirects.
