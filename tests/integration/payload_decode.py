#!/usr/bin/env python3
"""Decodes what iotix encoded with decoders that others wrote (cbor2, csv, json, struct) and prints it as JSON, a line each.

Input: lines "NAME HEX"; NAME begins with json, cbor, binary, csv or influx. InfluxDB lines are taken apart here, character by
character after the published grammar, because no decoder for them is packaged."""
import base64
import csv
import io
import json
import struct
import sys

import cbor2


def plain(value):
    """Bytes as {"bytes": hex}, floats told apart from integers, so that JSON can carry it."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def influx(text):
    """measurement[,tag=value...] field=value[,field=value...] [timestamp]"""
    at = 0

    def take(stops):
        nonlocal at
        out = ""
        while at < len(text) and text[at] not in stops:
            if text[at] == "\\" and at + 1 < len(text) and text[at + 1] in ", =":
                at += 1
            out += text[at]
            at += 1
        return out

    def take_value():
        nonlocal at
        if text[at] != '"':
            word = take(", ")
            if word in ("true", "false"):
                return word == "true"
            return int(word[:-1]) if word.endswith("i") else float(word)
        at += 1
        out = ""
        while text[at] != '"':
            if text[at] == "\\" and text[at + 1] in '"\\':
                at += 1
            out += text[at]
            at += 1
        at += 1
        return out

    point = {"measurement": take(", "), "tags": {}, "fields": {}}
    while text[at] == ",":
        at += 1
        key = take("=")
        at += 1
        point["tags"][key] = take(", ")
    more = True
    while more:
        at += 1
        key = take("=")
        at += 1
        point["fields"][key] = take_value()
        more = at < len(text) and text[at] == ","
    point["time"] = int(text[at + 1:])
    return point


def binary(data):
    number, count, on, length = struct.unpack_from("<fi?H", data)
    at = struct.calcsize("<fi?H")
    text = data[at:at + length].decode()
    raw = data[at + length:at + length + 3]
    at += length + 3
    (length,) = struct.unpack_from("<H", data, at)
    document = json.loads(data[at + 2:at + 2 + length])
    rest = data[at + 2 + length:]
    return [round(number, 3), count, on, text, raw, document, rest]


def decode(name, data):
    if name.startswith("cbor"):
        return cbor2.loads(data)
    if name.startswith("json"):
        return json.loads(data)
    if name.startswith("csv"):
        rows = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
        assert len(rows) == 1, rows
        return rows[0]
    if name.startswith("influx"):
        return influx(data.decode())
    if name.startswith("binary"):
        return binary(data)
    raise SystemExit(f"no decoder for {name}")


for line in sys.stdin:
    word, digits = line.split()
    print(word, json.dumps(plain(decode(word, bytes.fromhex(digits))), sort_keys=True))
    if word == "json":
        base64.b64decode(json.loads(bytes.fromhex(digits))["bytes"], validate=True)
