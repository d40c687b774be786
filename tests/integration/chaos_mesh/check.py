#!/usr/bin/env python3
"""Reads YAML documents and says what a cluster with Chaos Mesh would refuse of them: what the CRDs refuse, with unknown
fields refused too, and what its admission webhook refuses, which the CRDs do not know.

  check.py FILE      the documents as JSON on stdout, problems on stderr, exit code 1 when there are any
  check.py --bite    breaks good documents one rule at a time; each must be refused
"""
import copy
import json
import os
import re
import sys

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
DURATION = re.compile(r"^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$")
RATE = re.compile(r"^[0-9]+(bit|kbit|mbit|gbit|tbit|bps|kbps|mbps|gbps|tbps)$")
NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
LABEL = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
KEY = re.compile(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
NETEM = {"delay", "loss", "duplicate", "corrupt"}
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def crd(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return yaml.safe_load(f)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def structural(schema, value, where, out):
    """The part of OpenAPI that these CRDs use."""
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or kind in ("integer", "number") and isinstance(value, bool)):
        out.append(f"{where}: expected {kind}, got {value!r}")
        return
    if "enum" in schema and value not in schema["enum"]:
        out.append(f"{where}: {value!r} is none of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        out.append(f"{where}: {value!r} does not match {schema['pattern']}")
    if "minimum" in schema and (value < schema["minimum"] or schema.get("exclusiveMinimum") and value == schema["minimum"]):
        out.append(f"{where}: {value!r} is below {schema['minimum']}")
    if schema.get("format") == "int32" and not -2**31 <= value < 2**31:
        out.append(f"{where}: {value!r} is no int32")
    if isinstance(value, list):
        for i, item in enumerate(value):
            structural(schema.get("items", {}), item, f"{where}[{i}]", out)
    if not isinstance(value, dict):
        return
    for key in schema.get("required", []):
        if key not in value:
            out.append(f"{where}: {key} is missing")
    for key, item in value.items():
        if key in schema.get("properties", {}):
            structural(schema["properties"][key], item, f"{where}.{key}", out)
        elif isinstance(schema.get("additionalProperties"), dict):
            structural(schema["additionalProperties"], item, f"{where}.{key}", out)
        elif kind == "object" and "properties" in schema:
            out.append(f"{where}: unknown field {key!r}")


def percent(text, where, out):
    try:
        good = 0 <= float(text) <= 100
    except (TypeError, ValueError):
        good = False
    if not good:
        out.append(f"{where}: {text!r} is no percentage")


def selection(spec, where, out):
    mode, value = spec.get("mode"), spec.get("value")
    if mode in ("fixed", "fixed-percent", "random-max-percent"):
        number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]+", value) else None
        if number is None or number < 1 or mode != "fixed" and number > 100:
            out.append(f"{where}.value: {value!r} does not go with mode {mode}")
    labels = spec.get("selector", {}).get("labelSelectors", {})
    for key, text in labels.items():
        if not KEY.match(str(key)) or not isinstance(text, str) or not LABEL.match(text) or len(text) > 63:
            out.append(f"{where}.selector: bad label {key!r}: {text!r}")
    if not labels:
        out.append(f"{where}.selector: it selects every pod")


def network(spec, where, out):
    """The webhook of NetworkChaos."""
    action, direction = spec.get("action"), spec.get("direction", "to")
    selection(spec, where, out)
    if "target" in spec:
        selection(spec["target"], where + ".target", out)
    if direction in ("from", "both") and action != "partition" and "target" not in spec:
        out.append(f"{where}: direction {direction} needs a target")
    if spec.get("externalTargets") and action != "partition" and direction != "to":
        out.append(f"{where}: externalTargets only with direction to")
    if "duration" in spec and not DURATION.match(str(spec["duration"])):
        out.append(f"{where}.duration: {spec['duration']!r} is no duration")
    members = NETEM & spec.keys()
    if action == "netem" and not members and "rate" not in spec:
        out.append(f"{where}: netem without anything to emulate")
    if action in NETEM and action not in spec or action == "bandwidth" and "bandwidth" not in spec:
        out.append(f"{where}: action {action} without {action}")
    if action in ("partition", "bandwidth") and members:
        out.append(f"{where}: action {action} with {sorted(members)}")
    for key in members - {"delay"}:
        percent(spec[key].get(key), f"{where}.{key}", out)
    for key in members:
        if "correlation" in spec[key]:
            percent(spec[key]["correlation"], f"{where}.{key}.correlation", out)
    if "reorder" in spec.get("delay", {}):
        percent(spec["delay"]["reorder"].get("reorder"), f"{where}.delay.reorder", out)
    if "bandwidth" in spec and not RATE.match(str(spec["bandwidth"].get("rate"))):
        out.append(f"{where}.bandwidth.rate: {spec['bandwidth'].get('rate')!r} is no rate")


def problems(doc, schemas):
    out = []
    kind = doc.get("kind")
    if kind not in schemas or doc.get("apiVersion") != "chaos-mesh.org/v1alpha1":
        return [f"unknown kind {kind!r} of {doc.get('apiVersion')!r}"]
    meta = doc.get("metadata", {})
    if not isinstance(meta.get("name"), str) or not NAME.match(meta["name"]) or len(meta["name"]) > 63:
        out.append(f"metadata.name: {meta.get('name')!r}")
    for key, text in meta.get("annotations", {}).items():
        if not KEY.match(key) or not isinstance(text, str):
            out.append(f"metadata.annotations: {key!r}: {text!r}")
    if set(meta) - {"name", "namespace", "annotations", "labels"} or set(doc) - {"apiVersion", "kind", "metadata", "spec"}:
        out.append("unknown field beside the specification")
    structural(schemas[kind]["properties"]["spec"], doc.get("spec", {}), "spec", out)
    if out:
        return out
    spec = doc["spec"]
    if kind == "NetworkChaos":
        network(spec, "spec", out)
        return out
    if not re.fullmatch(r"@every [1-9][0-9]*s", spec["schedule"]):
        out.append(f"spec.schedule: {spec['schedule']!r}")
    if spec["type"] != "NetworkChaos" or "networkChaos" not in spec:
        out.append("spec: type NetworkChaos and networkChaos belong together")
    else:
        network(spec["networkChaos"], "spec.networkChaos", out)
    return out


LABELS = {"selector": {"labelSelectors": {"app": "x"}}}
GOOD = {"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "NetworkChaos", "metadata": {"name": "a"},
        "spec": {"action": "netem", "mode": "fixed-percent", "value": "50", **LABELS, "direction": "both", "duration": "1m30s",
                 "delay": {"latency": "10ms", "jitter": "1.5ms", "correlation": "5", "reorder": {"reorder": "1", "gap": 2}},
                 "loss": {"loss": "0.5"}, "target": {"mode": "all", **LABELS}}}
RATED = {**GOOD, "spec": {"action": "bandwidth", "mode": "all", **LABELS, "direction": "to",
                          "bandwidth": {"rate": "500kbit", "limit": 1, "buffer": 1}}}
AGAIN = {**GOOD, "kind": "Schedule", "spec": {"schedule": "@every 300s", "type": "NetworkChaos", "networkChaos": GOOD["spec"]}}
BROKEN = [  # document, path to what is set (None: removed), a part of what must be said
    (GOOD, "metadata.name", "A_b", "metadata.name"), (GOOD, "metadata.annotations", {"a": 1}, "annotations"),
    (GOOD, "kind", "PodChaos", "unknown kind"), (GOOD, "spec.mod", "x", "unknown field 'mod'"),
    (GOOD, "spec.delay.latncy", "1s", "unknown field 'latncy'"), (GOOD, "spec.selector", None, "selector is missing"),
    (GOOD, "spec.selector", {}, "every pod"), (GOOD, "spec.selector.labelSelectors.app", False, "expected string"),
    (GOOD, "spec.selector.labelSelectors.app", "a b", "bad label"), (GOOD, "spec.action", "slow", "none of"),
    (GOOD, "spec.value", 50, "expected string"), (GOOD, "spec.value", "0", "does not go with"),
    (GOOD, "spec.value", "101", "does not go with"), (GOOD, "spec.value", None, "does not go with"),
    (GOOD, "spec.target", None, "needs a target"), (GOOD, "spec.externalTargets", ["a"], "only with direction to"),
    (GOOD, "spec.duration", "1 min", "no duration"), (GOOD, "spec.delay.latency", "10", "does not match"),
    (GOOD, "spec.delay.latency", None, "latency is missing"), (GOOD, "spec.delay.reorder.gap", None, "gap is missing"),
    (GOOD, "spec.loss.loss", 0.5, "expected string"), (GOOD, "spec.loss.loss", "5%", "no percentage"),
    (GOOD, "spec.loss.correlation", "x", "no percentage"), (GOOD, "spec.action", "corrupt", "without corrupt"),
    (RATED, "spec.action", "netem", "without anything"), (RATED, "spec.bandwidth.rate", "1.5mbit", "no rate"),
    (RATED, "spec.bandwidth.rate", "500", "no rate"), (RATED, "spec.bandwidth.limit", 0, "below 1"),
    (RATED, "spec.bandwidth.buffer", None, "buffer is missing"), (RATED, "spec.direction", "from", "needs a target"),
    (RATED, "spec.loss", {"loss": "1"}, "action bandwidth with"),
    (AGAIN, "spec.schedule", "5m", "spec.schedule"), (AGAIN, "spec.networkChaos", None, "belong together"),
    (AGAIN, "spec.networkChaos.target", None, "needs a target"), (AGAIN, "spec.historyLimit", 0, "below 1"),
    (AGAIN, "spec.concurrencyPolicy", "Replace", "none of"), (AGAIN, "spec.duration", "1s", "unknown field 'duration'"),
]


def bite(schemas):
    for doc in (GOOD, RATED, AGAIN):
        assert problems(doc, schemas) == [], problems(doc, schemas)
    for doc, path, value, says in BROKEN:
        doc = copy.deepcopy(doc)
        at, keys = doc, path.split(".")
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value
        if value is None:
            del at[keys[-1]]
        told = problems(doc, schemas)
        assert any(says in text for text in told), (path, value, told)
    print(len(BROKEN))


def main():
    schemas = {"NetworkChaos": crd("networkchaos.yaml"), "Schedule": crd("schedules.yaml")}
    if sys.argv[1] == "--bite":
        return bite(schemas)
    with open(sys.argv[1], encoding="utf-8") as f:
        docs = [d for d in yaml.safe_load_all(f) if d is not None]
    told = [f"{d.get('metadata', {}).get('name')}: {text}" for d in docs for text in problems(d, schemas)]
    names = [(d["kind"], d["metadata"]["name"]) for d in docs]
    told += [f"{name} is there twice" for name in set(names) if names.count(name) > 1]
    print(json.dumps(docs))
    print("\n".join(told), file=sys.stderr, end="")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
