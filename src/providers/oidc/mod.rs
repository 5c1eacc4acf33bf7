//! OpenID Connect: discovery, code flow with PKCE, and every check of the ID token.
