// Cuts a response into the boxes of fragmented MP4.

const LARGEST = 256 * 1024 * 1024;
const text = new TextDecoder();

/** The bytes that have come and are not yet a whole box. */
class Pending {
  #pieces = [];
  length = 0;

  add(piece) {
    this.#pieces.push(piece);
    this.length += piece.length;
  }

  /** The first bytes, in one array. */
  take(length) {
    const taken = new Uint8Array(length);
    let at = 0;
    while (at < length) {
      const piece = this.#pieces[0];
      const part = piece.subarray(0, length - at);
      taken.set(part, at);
      at += part.length;
      if (part.length === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(part.length);
    }
    this.length -= length;
    return taken;
  }

  putBack(piece) {
    this.#pieces.unshift(piece);
    this.length += piece.length;
  }
}

/**
 * Yields what the server tells of each fragment as { event }, and media as { media, begins }. `begins` says that the media
 * begins with a new ftyp and moov. What ends in the middle of a box is dropped.
 */
export async function* boxes(response) {
  const reader = response.body.getReader();
  const pending = new Pending();
  let need = 8;
  let head = [];
  let begins = false;
  try {
    for (;;) {
      while (pending.length < need) {
        const { done, value } = await reader.read();
        if (done) return;
        pending.add(value);
      }
      const start = pending.take(8);
      const view = new DataView(start.buffer);
      const length = view.getUint32(0);
      const kind = text.decode(start.subarray(4, 8));
      pending.putBack(start);
      if (length < 8 || length > LARGEST) throw new Error(`a box ${kind} of ${length} bytes`);
      if (pending.length < length) {
        need = length;
        continue;
      }
      need = 8;
      const whole = pending.take(length);
      if (kind === "emsg") {
        const event = told(whole);
        if (event) yield { event };
        continue;
      }
      if (kind === "ftyp") begins = true;
      head.push(whole);
      if (kind !== "mdat") continue;
      const media = new Uint8Array(head.reduce((sum, piece) => sum + piece.length, 0));
      let at = 0;
      for (const piece of head) {
        media.set(piece, at);
        at += piece.length;
      }
      yield { media, begins };
      head = [];
      begins = false;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The JSON of an emsg box of version 1: 12 bytes, 4 + 8 + 4 + 4 bytes, two texts that end in 0, the data. */
function told(box) {
  let at = 32;
  for (let texts = 0; texts < 2; texts += 1) at = box.indexOf(0, at) + 1;
  try { return JSON.parse(text.decode(box.subarray(at))); } catch { return null; }
}
