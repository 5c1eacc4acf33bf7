#!/usr/bin/env python3
"""Prints the permissions of MLflow's basic-auth, or of mlflow-oidc-auth, as roles of mlgate.

  python mlflow_permissions.py sqlite:///basic_auth.db --provider corp >roles.toml

The address is the database_uri of basic_auth.ini (or OIDC_USERS_DB_URI). Run it where MLflow's server is installed: it needs
SQLAlchemy and the database's driver, and nothing else. It only reads. Passwords are not taken over: their hashes are of another kind.
"""

import argparse
import json
import os
import sys
from collections import defaultdict

import sqlalchemy

PERMISSIONS = ("READ", "USE", "EDIT", "MANAGE")

# Their word for a kind, ours, and whether they name the thing by its id. Sub-resources follow their parents here.
KINDS = {
    "experiment": ("experiments", True),
    "registered_model": ("registered_models", False),
    "prompt": ("prompts", False),
    "scorer": ("scorers", False),
    "skill": ("skills", False),
    "gateway_secret": ("gateway_secrets", True),
    "gateway_endpoint": ("gateway_endpoints", True),
    "gateway_model_definition": ("gateway_model_definitions", True),
    "mcp_server": ("mcp_servers", False),
}
# Columns that name the thing, in tables of one kind.
NAMES = ("scorer_name", "experiment_id", "name", "secret_id", "endpoint_id", "model_definition_id")
BUILT_IN = {"viewer", "editor", "manager", "admin"}


def quoted(text):
    """A TOML text: JSON's, but for one character that JSON lets stand."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def said(text):
    """In a comment nothing may end the line."""
    return json.dumps(str(text))


class Source:
    def __init__(self, connection):
        self.connection = connection
        metadata = sqlalchemy.MetaData()
        metadata.reflect(connection)
        self.tables = metadata.tables

    def rows(self, table):
        if table not in self.tables:
            return []
        return self.connection.execute(sqlalchemy.select(self.tables[table])).mappings().all()


class Holder:
    """Who has grants: one person, one group, or those who have a role."""

    def __init__(self, name):
        self.name = name
        self.users, self.groups, self.grants, self.remarks = [], [], defaultdict(list), []

    def grant(self, kind, thing, permission):
        what = f"{permission} on {kind} {said(thing)}"
        if kind not in KINDS:
            self.remarks.append(f"{what}: there is no such kind of grant here")
            return
        key, by_id = KINDS[kind]
        if permission in ("DENY", "NO_PERMISSIONS"):
            # There nothing is granted, here something else might be: shut is shut.
            permission = "DENY"
        elif permission not in PERMISSIONS:
            self.remarks.append(f"{what}: is no permission")
            return
        thing = str(thing)
        if thing == "*":
            pattern = "*"
        elif kind in ("scorer", "skill"):
            self.remarks.append(f"{what}: names of {kind}s are written in another way here")
            return
        elif by_id:
            pattern = f"id:{thing}"
        elif "*" in thing or thing.startswith("id:"):
            self.remarks.append(f"{what}: such a name would be read as a pattern")
            return
        else:
            pattern = thing
        if any(ord(c) < 32 or ord(c) == 127 for c in pattern):
            self.remarks.append(f"{what}: the name holds control characters")
            return
        if pattern not in self.grants[permission, key]:
            self.grants[permission, key].append(pattern)

    def written(self, provider):
        lines = [f"# {remark}" for remark in self.remarks]
        if not self.grants and self.name not in BUILT_IN or not (self.users or self.groups):
            return lines
        lines += ["[[role]]", f"name = {quoted(self.name)}"]
        for key, names in (("groups", self.groups), ("users", self.users)):
            if names:
                lines.append(f"{key} = [{', '.join(quoted(f'{provider}:{name}') for name in sorted(names))}]")
        if self.grants:
            lines.append("grants = [")
            for (permission, key), patterns in sorted(self.grants.items()):
                lines.append(f"  {{ permission = {quoted(permission)}, {key} = [{', '.join(quoted(p) for p in sorted(patterns))}] }},")
            lines.append("]")
        return lines


def collect(source, default):
    people = {row["id"]: row for row in source.rows("users")}
    if not people:
        sys.exit("there are no users in this database: is it the one of basic_auth.ini?")
    admin = Holder("admin")
    admin.users = [row["username"] for row in people.values() if row["is_admin"]]
    everyone = Holder("everyone")
    everyone.users = [row["username"] for row in people.values() if not row["is_admin"]]
    if default in PERMISSIONS:
        for kind in KINDS:
            everyone.grant(kind, "*", default)
    holders = [admin, everyone]

    def of(known, key, name):
        if key not in known:
            known[key] = Holder(name)
            holders.append(known[key])
        return known[key]

    persons, teams = {}, {}

    def of_person(row):
        holder = of(persons, row["user_id"], f"user-{people[row['user_id']]['username']}")
        holder.users = [people[row["user_id"]]["username"]]
        return holder

    groups = {row["id"]: row["group_name"] for row in source.rows("groups")}

    def of_group(row):
        holder = of(teams, row["group_id"], f"group-{groups[row['group_id']]}")
        holder.groups = [groups[row["group_id"]]]
        return holder

    # A table for each kind: MLflow 2 and early 3, and mlflow-oidc-auth.
    has_prompts = "role_permissions" in source.tables or any(t.endswith("_group_permissions") for t in source.tables)
    for kind in KINDS:
        for table, owner, whose in ((f"{kind}_permissions", "user_id", of_person), (f"{kind}_group_permissions", "group_id", of_group)):
            for row in source.rows(table):
                if row.get(owner) is None:
                    continue
                thing = next((row[column] for column in NAMES if row.get(column) is not None), None)
                # mlflow-oidc-auth keeps prompts among the models.
                is_prompt = kind == "registered_model" and row.get("prompt")
                whose(row).grant("prompt" if is_prompt else kind, thing, row["permission"])
                if kind == "registered_model" and not has_prompts:
                    # MLflow 2 holds prompts to be models.
                    whose(row).grant("prompt", thing, row["permission"])
        for table, whose in ((f"{kind}_regex_permissions", of_person), (f"{kind}_group_regex_permissions", of_group)):
            for row in source.rows(table):
                whose(row).remarks.append(f"{row['permission']} on {kind}s by the expression {said(row['regex'])}: write it as a pattern, with * for any run of characters")

    # Roles: MLflow from 3.13 on. What a person has alone is a role with a name that nobody gave.
    assigned = defaultdict(list)
    for row in source.rows("user_role_assignments"):
        if row["user_id"] in people:
            assigned[row["role_id"]].append(row["user_id"])
    granted = defaultdict(list)
    for row in source.rows("role_permissions"):
        granted[row["role_id"]].append(row)
    for role in source.rows("roles"):
        users = assigned[role["id"]]
        is_hidden = role["name"].startswith("__user_")
        if is_hidden and len(users) == 1:
            holder = of_person({"user_id": users[0]})
        else:
            name = role["name"] if role["workspace"] == "default" else f"{role['workspace']}/{role['name']}"
            holder = Holder(f"{name} (MLflow)" if name in BUILT_IN else name)
            holder.users = [people[user]["username"] for user in users]
            holders.append(holder)
        if role["workspace"] != "default":
            holder.remarks.append(f"the workspace {said(role['workspace'])}: grants below hold in all workspaces by name; ids are of one")
        for row in granted[role["id"]]:
            holder.grant(row["resource_type"], row["resource_pattern"], row["permission"])
    return holders


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", help="SQLAlchemy's address of the database; or MLGATE_MIGRATE_DATABASE, where it holds a password", nargs="?")
    parser.add_argument("--provider", required=True, help="the id of the [[provider]] by which these people sign in from now on")
    parser.add_argument("--default-permission", default="READ", choices=[*PERMISSIONS, "NO_PERMISSIONS"], help="default_permission of basic_auth.ini")
    asked = parser.parse_args()
    database = asked.database or os.environ.get("MLGATE_MIGRATE_DATABASE")
    if not database:
        parser.error("the database is missing")
    path = sqlalchemy.make_url(database)
    # SQLite would make an empty one.
    if path.get_backend_name() == "sqlite" and not os.path.exists(path.database or ""):
        sys.exit(f"{path.database} is not there")
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        holders = collect(Source(connection), asked.default_permission)
    people = sorted({user for holder in holders for user in holder.users})
    print("# Roles from MLflow's own permissions. Read them through: they are the rights of single people, and groups are easier to keep.")
    print("# There everybody may create things and manages what they made. Here the maker manages it too, but to create needs EDIT on a pattern")
    print("# that the new name matches: give each team one, such as { permission = \"EDIT\", experiments = [\"team/*\"] }.")
    if asked.default_permission in PERMISSIONS[1:]:
        print("# A lower permission than the default, given to somebody on one thing, lowers nothing here: roles add up, and only DENY takes away.")
    print(f"# Whoever signs in by a local users file needs a new password (mlgate hash-password): {len(people)} people.")
    names = defaultdict(int)
    for holder in holders:
        if not (holder.users or holder.groups) and not holder.remarks:
            continue
        # A role's name is there once.
        names[holder.name] += 1
        if names[holder.name] > 1:
            holder.name = f"{holder.name} ({names[holder.name]})"
        lines = holder.written(asked.provider)
        if lines:
            print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
