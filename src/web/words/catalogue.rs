//! The names of all texts. Every language is a value of this type, so none lacks a text: the compiler says which one would.

macro_rules! catalogue {
    ($($name:ident),* $(,)?) => {
        /// All that the pages say, in one language. `{name}` in a text is filled by [`super::Fill`].
        pub struct Words {
            /// As in `lang` and `Content-Language` (RFC 5646).
            pub tag: &'static str,
            /// One of a kind, in the order of `Kind::ALL`.
            pub kinds: [&'static str; 11],
            /// All of a kind.
            pub all_of_kinds: [&'static str; 11],
            /// Some of a kind: their names follow.
            pub some_of_kinds: [&'static str; 11],
            $(pub $name: &'static str,)*
        }

        impl Words {
            /// Each text with its name.
            #[cfg(test)]
            pub(in crate::web) fn each(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

catalogue! {
    everything, everything_and_server, second, seconds, minute, minutes, hour, hours, day, days, skip, notice_from,
    guarded, request, none, never, yes, no, times_in_utc, action, continue_on, back_to_start, back_to_mlflow,
    back_to_account, back_to_admin, start_again, whom, whom_at, sign_in, sign_in_to, choose_how, with_provider,
    user_name, password, another_way, signing_in, one_moment_asks, one_moment_ends, sign_out, sign_out_question,
    signed_out, close_browser, sign_in_again, signed_in_as_user, framed_title, framed, wrong_password,
    login_form_expired, form_expired, from_another_site, not_our_form, no_such_way, the_sign_in_service,
    too_many_attempts, stale_attempt, provider_away, no_way_in, wrong_method, sign_out_from_here, no_such_saml,
    not_all_ended, unexpected_form, other_version, no_such_page, title_400, title_401, title_403, title_404, title_405, title_413,
    title_429, title_502, title_503, title_504, title_other, fault_gateway, fault_upstream, fault_provider,
    network_refused, headers_too_large, malformed, elsewhere, unknown_host, not_signed_in, ask_again, bad_credential,
    issuer_away, cross_site, too_often, store_away, groups_unknown, trail_away, busy, too_slow, client_left,
    body_too_large, upstream_unreachable, upstream_timeout, upstream_broken, upstream_too_large, upstream_failed,
    not_ready, no_access, no_access_title, signed_in_as, groups, roles, your_account, as_someone_else, no_role,
    needs_role, needs_on_named, needs_on_every, needs_on_some, needs_on_server, not_granted, unknown_route,
    read_only_token, token_scope, account_refused, provider_refused, refused_otherwise, ask_for_role, ask_for_more,
    tell_of_route, go_back, another_account, another_network, if_wrong, for_admins, open_mlflow, token_made,
    copy_it_now, what_you_may, you_hold_no_role, your_groups, where_signed_in, from, since, last_seen, ends,
    this_browser, end, end_session_of, your_tokens, no_tokens, see_below, name, created, last_used, read_only,
    from_address, only, revoke, revoke_token_named, new_token, token_name_example, lives, only_these,
    only_these_example, only_these_help, may_only_read, make_token, from_code, in_a_terminal, with_code,
    type_code_here, or_with_token, shell_commands, token_acts_as_you, session_ended, token_revoked, no_such_session,
    no_such_token, token_not_made, sign_terminal_in, type_code, code, only_your_code, unknown_code, let_terminal_in,
    terminal_asks, you_are, its_code, elsewhere_terminal, who_asks, mlgate_command, on_machine, terminal, this_browser_at, it_may,
    may_read, may_all, no_role_now, your_roles, how_long, until_revoked, for_time, revoke_on_account, deny, allow,
    terminal_in, terminal_not_in, notices_soon, to_take_back, nothing_given, if_not_you, type_again,
    no_device_for_role, sign_in_anew_first, sign_in_anew, device_off, let_client_in, client_asks, at, allow_only_if,
    oauth_wrong, oauth_too_often, oauth_away, share_title, made_by, made_by_nobody, open_experiment, saved, who_else,
    shared_with_none, group, permission, stop, stop_sharing_with, share_with_group, group_hint, share,
    which_experiment, wrong_permission, administration, overview, sessions, tokens, trail, explain, state,
    live_sessions, configuration, last_reload, not_reloaded, reload_taken, reload_refused, problems, trail_file,
    version, mlflow_servers, server_name, mlflow_version, answers, ways_in, kind, recent_refusals, whole_trail, user,
    provider, address, search, find_by_user, any, nobody_signed_in, nothing_found, only_first,
    end_all_of_user, end_session_of_user, sessions_ended, already_ended, revoke_token_of_user, no_tokens_here,
    token_for_user, token_for_user_help, made_for, who_holds, held_by_none, users, on_servers, all_servers, may,
    roles_help, built_in, time, outcome, what, on_what, why, event, resource, outcome_allowed, outcome_refused,
    outcome_failed, trail_help, trail_partial, action_example, resource_example, trail_unreadable, explain_help,
    method, path, body_json, groups_help, server, explain_it, is_allowed, is_refused, held, needed, granted, rules_looked_at,
    hit, miss, rule, role, not_explained, act_refused, act_unavailable,
}
