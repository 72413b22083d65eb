// Plays a stream with Media Source Extensions: live, or what is stored from a time on.

import { Trouble, address, ask, pause } from "./dom.js";
import { boxes } from "./boxes.js";

/** The milliseconds of stored media that are asked for at once, and that are buffered ahead. */
const WINDOW = 20_000;
const AHEAD = 15;
/** The seconds behind the picture that are kept. */
const KEPT = 30;

export class Player {
  /** `on`: fragment(info), problem(trouble), waiting(text), live(bool), nextStored(millis), playing(). */
  constructor(video, on) {
    this.video = video;
    this.on = on;
    this.mode = "idle";
    this.reconnects = 0;
    for (const name of ["playing", "pause"]) video.addEventListener(name, () => on.playing());
    video.addEventListener("error", () => {
      if (this.mode !== "idle" && video.error) {
        on.problem(new Trouble({ message: "The browser cannot play this", hint: video.error.message || "Download it instead." }));
      }
    });
    this.watch = setInterval(() => this.#steer(), 250);
  }

  get isLive() { return this.mode === "live"; }
  get isPaused() { return this.video.paused; }

  /** The producer's clock at the picture. `null` if there is none. */
  get time() {
    const at = this.video.currentTime;
    const mark = this.#mark(at);
    return mark ? mark.producer + (at - mark.from) * 1000 : null;
  }

  #mark(at) {
    let found = null;
    for (const mark of this.marks ?? []) if (mark.from <= at + 0.02) found = mark;
    return found;
  }

  /** The fragment of the picture. */
  get fragment() { return this.#mark(this.video.currentTime)?.info ?? null; }

  stop() {
    this.mode = "idle";
    this.abort?.abort();
    this.abort = null;
    this.marks = [];
    this.buffer = null;
    if (this.source) {
      this.video.removeAttribute("src");
      this.video.load();
      URL.revokeObjectURL(this.url);
      this.source = null;
    }
  }

  destroy() {
    this.stop();
    clearInterval(this.watch);
  }

  #begin(mode) {
    const wasPaused = this.mode !== "idle" && this.video.paused;
    this.stop();
    this.mode = mode;
    this.abort = new AbortController();
    this.source = new MediaSource();
    this.url = URL.createObjectURL(this.source);
    this.video.src = this.url;
    this.hasBegun = false;
    this.holds = wasPaused && mode === "stored";
    const opened = new Promise((done) => this.source.addEventListener("sourceopen", done, { once: true }));
    return { signal: this.abort.signal, opened };
  }

  /** Plays what arrives, and reconnects for ever. */
  async live(stream) {
    const { signal, opened } = this.#begin("live");
    this.on.waiting("Waiting for media");
    await opened;
    let wait = 500;
    while (!signal.aborted) {
      try {
        const answer = await ask("live", { stream }, { signal });
        let isFirst = true;
        for await (const part of boxes(answer)) {
          if (signal.aborted) return;
          if (await this.#take(part, signal) === "ended") return;
          if (part.media) wait = 500;
          if (part.event?.waiting && !isFirst && !this.hasBegun) this.on.waiting("Connected. Nothing arrives at the moment");
          isFirst = false;
        }
        if (signal.aborted) return;
      } catch (error) {
        if (signal.aborted || error.name === "AbortError") return;
        if (error instanceof Trouble && error.status >= 400 && error.status < 500) {
          this.on.problem(error);
          return;
        }
        if (!(error instanceof Trouble) && error.name !== "TypeError") console.warn(error.message);
        this.on.waiting(error instanceof Trouble ? `${error.message}. Trying again` : "The connection was lost. Trying again");
      }
      this.reconnects += 1;
      await pause(wait, signal);
      wait = Math.min(wait * 2, 8000);
    }
  }

  /** Plays what is stored from a time on. */
  async stored(stream, from) {
    const { signal, opened } = this.#begin("stored");
    this.on.waiting("Loading");
    await opened;
    let next = from;
    let isFirst = true;
    const seen = new Set();
    while (!signal.aborted) {
      const ahead = this.#ahead();
      if (ahead > AHEAD) {
        await pause(400, signal);
        continue;
      }
      const stored = this.on.nextStored(next);
      if (stored === null) {
        // There is nothing more: it is live by now, or the stream has ended.
        if (ahead < 0.7 && !this.holds) {
          this.on.atEnd();
          return;
        }
        await pause(500, signal);
        continue;
      }
      const start = Math.max(next, stored);
      let until = start;
      try {
        const answer = await ask("media", { stream, start: Math.floor(start), end: Math.floor(start) + WINDOW }, { signal });
        let skips = false;
        for await (const part of boxes(answer)) {
          if (signal.aborted) return;
          const info = part.event?.fragment;
          if (info) {
            skips = seen.has(info.number);
            seen.add(info.number);
            if (!skips && info.producer !== null) until = Math.max(until, info.producer + Math.max(info.duration, 1));
          }
          // A fragment that reaches into two windows comes twice. Its start of a file is still needed.
          if (part.media && skips && !part.begins) continue;
          if (await this.#take(part, signal) === "ended") return;
          if (isFirst && part.media) {
            isFirst = false;
            this.#seekTo(from);
          }
        }
      } catch (error) {
        if (signal.aborted || error.name === "AbortError") return;
        if (error instanceof Trouble && error.status === 404) until = start + 1000;
        else {
          this.on.problem(error instanceof Trouble ? error : new Trouble({ message: "The media cannot be read", hint: error.message }));
          return;
        }
      }
      next = until > start ? until : start + WINDOW;
    }
  }

  /** Moves within what is buffered. Returns whether it is. */
  seekBuffered(millis) {
    const mark = (this.marks ?? []).findLast((mark) => mark.producer <= millis);
    if (!mark) return false;
    const at = mark.from + (millis - mark.producer) / 1000;
    const ranges = this.video.buffered;
    for (let index = 0; index < ranges.length; index += 1) {
      if (at >= ranges.start(index) - 0.05 && at < ranges.end(index) - 0.05) {
        this.video.currentTime = Math.max(at, ranges.start(index));
        return true;
      }
    }
    return false;
  }

  #seekTo(millis) {
    const mark = this.marks[0];
    if (!mark) return;
    const at = mark.from + Math.max(0, millis - mark.producer) / 1000;
    this.video.currentTime = Math.max(at, mark.from);
  }

  #ahead() {
    const ranges = this.video.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) - this.video.currentTime : 0;
  }

  /** Takes what a response has. Returns "ended" after a failure. */
  async #take(part, signal) {
    if (part.event?.error) {
      const { status } = part.event.error;
      const trouble = new Trouble(part.event.error);
      // The service may recover from the others.
      if (status >= 500 || status === 429) throw trouble;
      this.on.problem(trouble);
      return "ended";
    }
    if (part.event?.fragment) {
      this.next = part.event;
      this.on.fragment(part.event.fragment, part.event.kind);
      if (part.event.kind === "call") {
        this.on.kind("call");
        return "ended";
      }
      return "taken";
    }
    if (!part.media || !this.next) return "taken";
    const { fragment, type, at } = this.next;
    if (!this.buffer || part.begins) {
      if (!MediaSource.isTypeSupported(type)) {
        this.on.unsupported(type);
        return "ended";
      }
      if (!this.buffer) {
        this.buffer = this.source.addSourceBuffer(type);
        this.origin = (fragment.producer ?? 0) - at * 1000;
        this.type = type;
      } else if (type !== this.type) {
        this.buffer.changeType(type);
        this.type = type;
      }
      let offset = ((fragment.producer ?? this.origin) - at * 1000 - this.origin) / 1000;
      const last = this.marks.at(-1);
      // A clock that went back follows what is there, so that it is not written over.
      if (last && offset + at < last.from && last.info.number !== fragment.number) offset = last.from + last.info.duration / 1000 - at;
      this.offset = Math.max(offset, -at);
      this.buffer.timestampOffset = this.offset;
    }
    await this.#append(part.media, signal);
    if (signal.aborted) return "ended";
    const from = this.offset + at;
    if (this.marks.at(-1)?.info.number !== fragment.number) this.marks.push({ from, producer: fragment.producer ?? 0, info: fragment });
    if (!this.hasBegun) {
      this.hasBegun = true;
      if (this.isLive) this.video.currentTime = this.video.buffered.length ? this.video.buffered.start(0) : from;
      this.on.waiting(null);
      if (!this.holds) this.play();
    }
    return "taken";
  }

  async #append(media, signal) {
    for (let attempt = 0; attempt < 3 && !signal.aborted; attempt += 1) {
      try {
        this.buffer.appendBuffer(media);
        await this.#updated();
        return;
      } catch (error) {
        if (error.name !== "QuotaExceededError") throw error;
        await this.#trim(Math.max(this.video.currentTime - 2, 0));
        await pause(500, signal);
      }
    }
  }

  #updated() {
    const buffer = this.buffer;
    return buffer.updating ? new Promise((done) => buffer.addEventListener("updateend", done, { once: true })) : null;
  }

  /** Drops what was played long ago. */
  async #trim(until) {
    const ranges = this.video.buffered;
    if (!this.buffer || this.buffer.updating || !ranges.length || until - ranges.start(0) < 5) return;
    this.buffer.remove(ranges.start(0), until);
    await this.#updated();
    this.marks = this.marks.filter((mark, index) => (this.marks[index + 1]?.from ?? Infinity) > until);
  }

  play() { this.video.play().catch(() => this.on.playing()); }

  toggle() {
    this.holds = false;
    if (this.video.paused) this.play();
    else this.video.pause();
  }

  /** Passes over holes, catches up, and trims. */
  #steer() {
    const { video } = this;
    if (this.mode === "idle" || !this.buffer || !video.buffered.length) return;
    const ranges = video.buffered;
    const end = ranges.end(ranges.length - 1);
    let isInside = false;
    for (let index = 0; index < ranges.length; index += 1) {
      if (video.currentTime >= ranges.start(index) - 0.01 && video.currentTime < ranges.end(index) - 0.05) isInside = true;
    }
    if (!isInside && !video.paused) {
      for (let index = 0; index < ranges.length; index += 1) {
        if (ranges.start(index) > video.currentTime) {
          video.currentTime = ranges.start(index) + 0.01;
          break;
        }
      }
    }
    if (this.isLive && !video.paused) {
      const lasts = (this.marks.at(-1)?.info.duration ?? 1000) / 1000;
      const behind = end - video.currentTime;
      if (behind > 3 * lasts + 4) video.currentTime = Math.max(end - lasts, ranges.start(ranges.length - 1));
      video.playbackRate = behind > 1.6 * lasts + 0.7 ? 1.06 : 1;
    } else if (video.playbackRate !== 1) {
      video.playbackRate = 1;
    }
    if (!this.buffer.updating && video.currentTime - ranges.start(0) > 2 * KEPT) this.#trim(video.currentTime - KEPT);
  }
}

export const mediaAddress = (name, stream, start, end) =>
  address(name, { stream, start: Math.floor(start), end: Math.ceil(end) });
