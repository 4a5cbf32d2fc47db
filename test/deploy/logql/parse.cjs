// Reads a JSON list of LogQL queries, and writes one with what each is: where it
// cannot be read, and which names it compares, with whether that is in {}.
const { parser } = require('@grafana/lezer-logql');

function parse(query) {
  const errors = [];
  const names = [];
  parser.parse(query).iterate({
    enter(node) {
      if (node.type.isError) errors.push(node.from);
      if (node.name !== 'Matcher') return;
      let above = node.node.parent;
      while (above && above.name !== 'Selector') above = above.parent;
      const name = node.node.getChild('Identifier');
      if (name) names.push({ name: query.slice(name.from, name.to), selects: above !== null });
    },
  });
  return { errors, names };
}

let text = '';
process.stdin.on('data', (part) => (text += part));
process.stdin.on('end', () => console.log(JSON.stringify(JSON.parse(text).map(parse))));
