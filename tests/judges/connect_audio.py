"""Computes the audio of conversations from their descriptions.

Reads a JSON array of conversations from standard input. A conversation is an array of fragments:
{"contact": id or null, "blocks": [[party, milliseconds, samples, salt], ...]}, with party 0 for the customer, 1 for the agent.
Prints a JSON array: for each conversation its contacts in order, [id, [customer, agent]]. A party is
[samples, SHA-256 of them as little-endian bytes, [[start, length], ...] of the silence that fills holes].
"""

import hashlib
import json
import struct
import sys

PER_MILLISECOND = 8
TOLERANCE = 8 * PER_MILLISECOND


def sample(party, salt, i):
    """Returns a sample: a counter that no other block has, plus noise."""
    return (salt * 40503 + i * 31 + party * 17 + (i * i * 40503 >> 7) % 29) % 65536 - 32768


def contacts(conversation):
    """Yields contact and blocks of each fragment.

    A fragment without a contact belongs to the one before or, at the start, to the first one named.
    """
    ids = [fragment["contact"] for fragment in conversation]
    current = next((id for id in ids if id is not None), None)
    for fragment in conversation:
        current = fragment["contact"] or current
        yield current, fragment["blocks"]


def place(conversation):
    done = []
    for id, blocks in contacts(conversation):
        if not blocks:
            continue
        if not done or done[-1]["id"] != id:
            start = min(time for _, time, _, _ in blocks)
            done.append({"id": id, "start": start, "audio": ([], []), "holes": ([], [])})
        contact = done[-1]
        for party, time, length, salt in blocks:
            audio, holes = contact["audio"][party], contact["holes"][party]
            samples = [sample(party, salt, i) for i in range(length)]
            position = (time - contact["start"]) * PER_MILLISECOND
            if position > len(audio) + TOLERANCE:
                holes.append([len(audio), position - len(audio)])
                audio.extend([0] * (position - len(audio)))
            elif position < len(audio) - TOLERANCE:
                samples = samples[len(audio) - position :]
            audio.extend(samples)
    return [[contact["id"], [summary(*party) for party in zip(contact["audio"], contact["holes"])]] for contact in done]


def summary(audio, holes):
    return [len(audio), hashlib.sha256(struct.pack(f"<{len(audio)}h", *audio)).hexdigest(), holes]


print(json.dumps([place(conversation) for conversation in json.load(sys.stdin)]))
