//! oauth2-proxy's options that the gateway has no key for, and why.

/// What to say of an option, by its name.
pub(super) fn reason(option: &str) -> &'static str {
    REASONS
        .iter()
        .find(|(names, _)| names.split(' ').any(|name| name == option))
        .map_or("is no option that this import knows", |(_, reason)| reason)
}

const TOKENS: &str =
    "MLflow never gets a token of the provider: it gets X-Mlgate-Assertion, a signed word on who it is";
const COOKIE: &str =
    "the cookie is __Host-mlgate (or __Secure-mlgate): Secure, HttpOnly, SameSite=Lax, an id and nothing else";
const DISCOVERY: &str = "the provider's discovery document tells";
const LOGS: &str = "logs are [telemetry]; who did what is in the trail, [audit]";
const ALWAYS_CHECKED: &str = "is always checked here";
const SIGN_IN_OPEN: &str = "nothing passes without a sign-in or a token but /health and /version; scripts use tokens (mlgate tokens create), jobs a [[trusted_issuer]]";
const PATHS: &str = "the gateway's own pages are below /auth, its health at /auth/healthz and /auth/readyz";

const REASONS: [(&str, &str); 39] = [
    (
        "azure_graph_group_field",
        "groups are Entra ID's object ids: docs/providers/entra-id.md",
    ),
    (
        "show_debug_on_error",
        "a stranger is shown no cause; the log has it, by the request's id",
    ),
    (
        "alpha_config",
        "the alpha configuration (YAML) is not read: write it as options first",
    ),
    (
        "api_routes force_json_errors",
        "a program gets 401 and JSON by what it sends, on every path",
    ),
    (
        "allow_query_semicolons",
        "one spelling of a query is taken, everything else refused",
    ),
    (
        "approval_prompt prompt acr_values auth_request_response_mode",
        "is not sent; SAML's force_authn and requested_authn_context are what comes near",
    ),
    (
        "backend_logout_url",
        "the provider's end_session_endpoint is used where discovery names one",
    ),
    (
        "basic_auth_password set_basic_auth pass_basic_auth",
        "the person's name is no password: if MLflow wants Basic authentication, give the gateway's own by upstream.basic_auth_user",
    ),
    (
        "bearer_token_login_fallback skip_jwt_bearer_tokens extra_jwt_issuers oidc_extra_audiences oidc_audience_claims",
        "bearer JWTs are believed by a [[trusted_issuer]] each, with an audience and conditions: docs/ci.md",
    ),
    (
        "client_secret_basic entra_id_federated_token_auth jwt_key jwt_key_file pubjwk_url signature_key",
        "is not spoken here",
    ),
    (
        "code_challenge_method force_code_challenge_method",
        "PKCE with S256 is always on",
    ),
    (
        "cookie_name cookie_secure cookie_httponly cookie_samesite cookie_path cookie_csrf_per_request cookie_csrf_per_request_limit cookie_csrf_expire cookie_csrf_samesite",
        COOKIE,
    ),
    (
        "cookie_secret cookie_secret_file",
        "sessions are sealed by session.secret_files, of 32 random bytes each; with sessions in memory a key is made at start",
    ),
    (
        "custom_templates_dir",
        "the pages take operator, notice, accent and logo_file in [pages]",
    ),
    (
        "disable_keep_alives flush_interval proxy_websockets",
        "is decided by the gateway: connections are kept, and every byte goes on at once",
    ),
    (
        "display_htpasswd_form htpasswd_file htpasswd_user_groups",
        "bcrypt hashes cannot be taken: add a [[provider]] of kind \"local\" and make lines with mlgate hash-password",
    ),
    ("encode_state", "the state is a random handle and holds nothing"),
    (
        "exclude_logging_paths auth_logging auth_logging_format request_logging request_logging_format standard_logging standard_logging_format errors_to_info_log logging_local_time silence_ping_logging logging_filename logging_max_size logging_max_age logging_max_backups logging_compress",
        LOGS,
    ),
    (
        "force_https",
        "a listener with [listen.tls] speaks TLS alone; redirecting is the ingress's",
    ),
    (
        "gcp_healthchecks ping_path ping_user_agent ready_path proxy_prefix",
        PATHS,
    ),
    (
        "github_org github_team github_repo github_token github_users bitbucket_team bitbucket_workspace bitbucket_repository gitlab_projects",
        "such memberships are not asked for: use groups of an OpenID provider",
    ),
    (
        "google_use_application_default_credentials google_target_principal google_use_organization_id google_admin_api_user_scope",
        "Google's groups are asked with a service account's key: docs/providers/google.md",
    ),
    (
        "insecure_oidc_allow_unverified_email",
        "an address must be verified; take user_claim = \"sub\" where none is",
    ),
    ("insecure_oidc_skip_issuer_verification", ALWAYS_CHECKED),
    ("insecure_oidc_skip_nonce", ALWAYS_CHECKED),
    (
        "login_url redeem_url profile_url validate_url oidc_jwks_url skip_oidc_discovery oidc_public_key_files oidc_enabled_signing_algs resource skip_claims_from_profile_url",
        DISCOVERY,
    ),
    (
        "metrics_secure_address metrics_tls_cert_file metrics_tls_key_file",
        "metrics are plain HTTP on listen.admin_address, which nobody but the operator should reach",
    ),
    (
        "pass_access_token pass_authorization_header set_authorization_header",
        TOKENS,
    ),
    (
        "pass_host_header",
        "MLflow gets its own host in Host, and people's in X-Forwarded-Host",
    ),
    (
        "pass_user_headers set_xauthrequest prefer_email_to_user skip_auth_strip_headers",
        "X-Forwarded-User, -Email, -Groups and X-Mlgate-Roles are always set, whatever a client sent",
    ),
    (
        "real_client_ip_header",
        "X-Forwarded-For alone is read, from trusted_proxies alone",
    ),
    (
        "redis_connection_idle_timeout redis_username",
        "belongs into redis_url, or is decided by the gateway",
    ),
    (
        "redis_use_sentinel redis_sentinel_password redis_sentinel_master_name redis_sentinel_connection_urls redis_use_cluster redis_cluster_connection_urls",
        "see session.redis_url in docs/configuration.md for Sentinel and clusters",
    ),
    ("relative_redirect_url", "public_url is what people type"),
    ("request_id_header", "X-Request-ID is always set"),
    ("session_cookie_minimal", "the cookie holds an id alone"),
    (
        "skip_auth_regex skip_auth_routes skip_auth_preflight trusted_ips",
        SIGN_IN_OPEN,
    ),
    ("skip_provider_button", "with one provider the way leads straight on"),
    (
        "ssl_insecure_skip_verify ssl_upstream_insecure_skip_verify redis_insecure_skip_tls_verify use_system_trust_store",
        "certificates are always checked: name the root by ca_file",
    ),
];
