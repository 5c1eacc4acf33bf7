#!/usr/bin/env python3
"""What Kubernetes would say to rendered manifests, without Kubernetes.

  manifests.py check CRDS VERSION:FILE…    schemas of that version, strictly; those of custom resources; the "restricted" Pod Security Standard
  manifests.py volume FOLDER FILE…         lays out the gateway's projected volume, as the kubelet would
  manifests.py mesh PROTO FILE             extension providers, by the definition of Istio's mesh configuration
"""

import base64
import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

# The one in C, where there is one: custom resources' schemas are long.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What a namespace holds besides the pod's own files (Pod Security Standards, "restricted": volume types).
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}

# Of a custom resource these are Kubernetes' business; some schemas name them, some do not.
NOT_ITS_OWN = {"apiVersion", "kind", "metadata"}

# Its project's own file is in no registry: this is what its reference says.
SNIPPETS_FILTER = {
    "type": "object",
    "required": ["spec"],
    "additionalProperties": False,
    "properties": {
        "spec": {
            "type": "object",
            "required": ["snippets"],
            "additionalProperties": False,
            "properties": {
                "snippets": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 4,
                    "items": {
                        "type": "object",
                        "required": ["context", "value"],
                        "additionalProperties": False,
                        "properties": {
                            "context": {"enum": ["main", "http", "http.server", "http.server.location"]},
                            "value": {"type": "string", "minLength": 1},
                        },
                    },
                }
            },
        }
    },
}


def documents(files):
    for file in files:
        for document in yaml.load_all(pathlib.Path(file).read_text(), LOADER):
            if document:
                yield document


def name_of(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def custom_schemas(folder):
    schemas = {("gateway.nginx.org/v1alpha1", "SnippetsFilter"): SNIPPETS_FILTER}
    for file in sorted(pathlib.Path(folder).glob("*.yaml")):
        for crd in documents([file]):
            if crd["kind"] != "CustomResourceDefinition":
                continue
            spec = crd["spec"]
            for version in spec["versions"]:
                key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["required"] = [field for field in schema.get("required", []) if field not in NOT_ITS_OWN]
                schemas[key] = schema
    return schemas


def strict(schema):
    """A structural schema prunes what it does not know; here that is an error."""
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict) and schema.get("type") == "object":
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made


def pods(document):
    kind, spec = document["kind"], document.get("spec", {})
    if kind == "Pod":
        yield spec
    elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        yield spec["template"]["spec"]


def restricted(pod):
    """The "restricted" Pod Security Standard, control by control."""
    context = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is a {kinds}"
    for container in pod.get("containers", []) + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        effective = {**context, **own}
        name = container["name"]
        if own.get("privileged"):
            yield f"{name} is privileged"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name} may escalate its privileges"
        if effective.get("runAsNonRoot") is not True or effective.get("runAsUser") == 0:
            yield f"{name} may run as root"
        if effective.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name} has no seccomp profile"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{name} keeps capabilities"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name} has a host port"
        # Beyond the standard, and promised.
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{name} can write to its root"
        for probe in ("livenessProbe", "readinessProbe"):
            if container.get("ports") and probe not in container:
                yield f"{name} has no {probe}"


def check(custom, version, file):
    seen, wrong = set(), []
    for document in documents([file]):
        name = name_of(document)
        if name in seen:
            wrong.append(f"{name}: is there twice")
        seen.add(name)
        if len(document["metadata"]["name"]) > 63:
            wrong.append(f"{name}: has a name of more than 63 characters")
        key = (document["apiVersion"], document["kind"])
        try:
            if key in custom:
                jsonschema.Draft7Validator(custom[key]).validate(own_part(document))
            else:
                kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{name}: {error.path}: {error.message}")
        except jsonschema.ValidationError as error:
            wrong.append(f"{name}: {list(error.absolute_path)}: {error.message[:300]}")
        except kubernetes_validate.SchemaNotFoundError:
            wrong.append(f"{name}: no schema for {key}")
        for pod in pods(document):
            wrong += [f"{name}: {text}" for text in restricted(pod)]
    label = pathlib.Path(file).name
    print("\n".join(f"{label}: {text}" for text in wrong) if wrong else f"{label}: {len(seen)} manifests hold in {version}")
    return bool(wrong)


def own_part(document):
    return {key: value for key, value in document.items() if key not in NOT_ITS_OWN}


def volume(folder, files):
    everything = {name_of(document): document for document in documents(files)}
    gateway = next(d for d in everything.values() if d["kind"] == "Deployment" and d["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway")
    projected = next(v["projected"] for v in gateway["spec"]["template"]["spec"]["volumes"] if v["name"] == "config")
    folder = pathlib.Path(folder)
    for source in projected["sources"]:
        (kind, reference), = source.items()
        kind = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
        found = everything[f"{kind}/{reference['name']}"]
        data = {k: v.encode() for k, v in {**found.get("stringData", {}), **(found.get("data", {}) if kind == "ConfigMap" else {})}.items()}
        if kind == "Secret":
            data |= {key: base64.b64decode(value or "") for key, value in found.get("data", {}).items()}
        items = reference.get("items", [{"key": key, "path": key} for key in data])
        for item in items:
            path = folder / item["path"]
            if path.exists():
                sys.exit(f"{item['path']} comes from two sources")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[item["key"]])
            path.chmod(projected["defaultMode"])
    return 0


def messages(proto):
    """Each message's fields, as JSON names them, with their types. Names of messages are unique among those that matter here."""
    found, inside = {}, []
    for line in re.sub(r"//[^\n]*", "", pathlib.Path(proto).read_text()).splitlines():
        if opened := re.match(r"\s*(?:message|enum|oneof) (\w+) *{", line):
            # A choice's fields are those of its message.
            inside.append(inside[-1] if "oneof" in line.split() else opened[1])
            found.setdefault(inside[-1], {})
        elif field := re.match(r"\s*(?:repeated )?([\w.]+) (\w+) = \d+", line):
            name = re.sub(r"_(\w)", lambda letter: letter[1].upper(), field[2])
            found[inside[-1]][name] = field[1].split(".")[-1]
        if line.strip().startswith("}") and inside:
            inside.pop()
    return found


def mesh(proto, file):
    known, wrong = messages(proto), []

    def walk(value, kind, path):
        if isinstance(value, list):
            for entry in value:
                walk(entry, kind, path)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key not in known.get(kind, {}):
                    wrong.append(f"{path}: {kind} has no {key}")
                else:
                    walk(inner, known[kind][key], f"{path}.{key}")
        elif kind in known:
            wrong.append(f"{path}: is no {kind}")

    walk(yaml.safe_load(pathlib.Path(file).read_text())["extensionProviders"], "ExtensionProvider", "extensionProviders")
    print("\n".join(wrong) or "every field is known")
    return bool(wrong)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", crds, *pairs]:
            custom = custom_schemas(crds)
            sys.exit(any([check(custom, *pair.split(":", 1)) for pair in pairs]))
        case ["volume", folder, *files]:
            sys.exit(volume(folder, files))
        case ["mesh", proto, file]:
            sys.exit(mesh(proto, file))
        case _:
            sys.exit(__doc__)
