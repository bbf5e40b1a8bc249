/* Filters of a table: `lr < 0.01 and status == "completed"` as `controller tasks --where` takes it, or words
   that a row holds. Nothing of what is typed is ever run. */
"use strict";
const filters = (() => {
  class Mistake extends Error {}

  const TOKEN = /\s*(?:(\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|`([^`]*)`|([<>=!]=|[<>()[\],+-])|([\p{L}_][\p{L}\p{N}_]*))/uy;
  const WORDS = new Set(["and", "or", "not", "in", "is"]);
  const VALUES = new Map([["None", null], ["null", null], ["True", true], ["true", true], ["False", false], ["false", false]]);

  function tokens(text) {
    const found = [];
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < text.trimEnd().length) {
      const at = TOKEN.lastIndex;
      const match = TOKEN.exec(text);
      if (!match) throw new Mistake(`can't be read from here on: ${text.slice(at).trim().slice(0, 20)}`);
      const [, number, double, single, ticked, sign, word] = match;
      if (number !== undefined) found.push({ kind: "value", value: Number(number.replaceAll("_", "")) });
      else if (double !== undefined || single !== undefined) {
        found.push({ kind: "value", value: (double ?? single).replace(/\\(.)/g, "$1") });
      } else if (ticked !== undefined) found.push({ kind: "name", value: ticked });
      else if (sign !== undefined) found.push({ kind: "sign", value: sign });
      else found.push({ kind: WORDS.has(word) ? "sign" : "name", value: word });
    }
    return found;
  }

  const missing = (one) => one === null || one === undefined;

  function compared(sign, a, b) {
    if (sign === "is") return missing(b) ? missing(a) : a === b;
    if (sign === "is not") return missing(b) ? !missing(a) : a !== b;
    if (missing(a) || missing(b)) return null;
    if (sign === "in" || sign === "not in") {
      const inside = Array.isArray(b) ? b.includes(a) : String(b).includes(String(a));
      return sign === "in" ? inside : !inside;
    }
    if (sign === "==") return a === b;
    if (sign === "!=") return a !== b;
    if (typeof a !== typeof b) return null;
    return sign === "<" ? a < b : sign === "<=" ? a <= b : sign === ">" ? a > b : a >= b;
  }

  const COMPARISONS = new Set(["==", "!=", "<", "<=", ">", ">=", "in", "is"]);

  /* A function of a row, which gives true, false, or null where the row lacks what is asked for. */
  function parsed(text, columns) {
    const list = tokens(text);
    let place = 0;
    const next = (value) => {
      const token = list[place];
      if (!token || token.kind !== "sign" || token.value !== value) return false;
      place += 1;
      return true;
    };
    const needed = (value) => {
      if (!next(value)) throw new Mistake(`"${value}" is missing`);
    };

    function joined(word, below, decides) {
      const parts = [below()];
      while (next(word)) parts.push(below());
      if (parts.length === 1) return parts[0];
      return (row) => {
        const said = parts.map((part) => part(row));
        return said.includes(decides) ? decides : said.includes(null) ? null : !decides;
      };
    }
    const either = () => joined("or", both, true);
    const both = () => joined("and", negated, false);

    function negated() {
      if (!next("not")) return chain();
      const inner = negated();
      return (row) => (inner(row) === null ? null : !inner(row));
    }

    function chain() {
      const operands = [operand()];
      const signs = [];
      for (;;) {
        const token = list[place];
        if (!token || token.kind !== "sign") break;
        let sign = token.value;
        if (sign === "not" && list[place + 1]?.value === "in") {
          place += 1;
          sign = "not in";
        } else if (!COMPARISONS.has(sign)) break;
        place += 1;
        if (sign === "is" && next("not")) sign = "is not";
        signs.push(sign);
        operands.push(operand());
      }
      if (!signs.length) return operands[0];
      return (row) => {
        let said = true;
        for (let i = 0; i < signs.length && said !== false; i++) {
          const one = compared(signs[i], operands[i](row), operands[i + 1](row));
          said = one === false ? false : one === null ? null : said;
        }
        return said;
      };
    }

    function operand() {
      const minus = next("-");
      if (next("+") || minus) {
        const inner = operand();
        return minus ? (row) => (typeof inner(row) === "number" ? -inner(row) : null) : inner;
      }
      if (next("(")) {
        const inner = either();
        needed(")");
        return inner;
      }
      if (next("[")) {
        const items = [];
        while (!next("]")) {
          items.push(operand());
          if (!next(",")) {
            needed("]");
            break;
          }
        }
        return (row) => items.map((item) => item(row));
      }
      const token = list[place];
      if (!token) throw new Mistake("it ends too early");
      if (token.kind === "sign") throw new Mistake(`"${token.value}" is out of place`);
      place += 1;
      if (token.kind === "value") return () => token.value;
      const column = columns.findIndex((one) => one.name === token.value);
      if (column >= 0) return (row) => row[column];
      if (VALUES.has(token.value)) return () => VALUES.get(token.value);
      throw new Mistake(`there is no column ${token.value}`);
    }

    const test = either();
    if (place < list.length) throw new Mistake(`"${list[place].value}" is out of place`);
    return (row) => test(row) === true;
  }

  function condition(text, columns) {
    if (!text.trim()) return () => true;
    if (/[<>=]|\b(in|is|not)\b/.test(text)) return parsed(text, columns);
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return (row) => {
      const whole = row.map(shown).join("\n").toLowerCase();
      return words.every((word) => whole.includes(word));
    };
  }

  function shown(value) {
    if (missing(value)) return "";
    if (typeof value === "number") return String(Number(value.toPrecision(6)));
    return typeof value === "string" ? value : JSON.stringify(value);
  }

  return { Mistake, condition, missing, shown };
})();
