"""Fills a database of MLflow's basic-auth by MLflow's own code, and tells as JSON what that then answers: [[user, experiment, permission], …]."""

import json
import sys

from mlflow.exceptions import MlflowException
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

database, experiments = sys.argv[1], sys.argv[2:]
store = SqlAlchemyStore()
store.init_db(database)
people = ["ann", "bob", "eve"]
for name in people:
    store.create_user(name, f"{name} has a long password", is_admin=name == "eve")
given = [
    ("ann", "experiment", experiments[0], "MANAGE"),
    ("ann", "registered_model", "risk", "EDIT"),
    ("bob", "experiment", experiments[0], "EDIT"),
    # The word changed with roles.
    ("bob", "experiment", experiments[1], "DENY" if hasattr(store, "create_role") else "NO_PERMISSIONS"),
    ("bob", "registered_model", 'quote " and, comma', "MANAGE"),
]
for user, kind, thing, permission in given:
    if kind == "experiment":
        store.create_experiment_permission(thing, user, permission)
    else:
        store.create_registered_model_permission(thing, user, permission)
if hasattr(store, "create_role"):
    role = store.create_role("admin", "default")
    store.add_role_permission(role.id, "experiment", experiments[2], "EDIT")
    store.assign_role_to_user(store.get_user("ann").id, role.id)


def permission(user, experiment):
    try:
        found = store.get_experiment_permission(experiment, user).permission
    except MlflowException:
        found = None
    if hasattr(store, "get_role_permission_for_resource"):
        by_role = store.get_role_permission_for_resource(store.get_user(user).id, "experiment", experiment, "default")
        found = by_role.name if by_role else found
    # default_permission
    return found or "READ"


print(json.dumps([[user, experiment, permission(user, experiment)] for user in ("ann", "bob") for experiment in experiments]))
