// Node.js 18 has no CustomEvent, which PGlite's server uses.
globalThis.CustomEvent ??= class extends Event {
  constructor(type, init) { super(type, init); this.detail = init?.detail; }
};
