// What Streamlit gives the worklist becomes a table; everything else is in list/.

const tables = new WeakMap();
const AGAIN = [1500, 4000]; // milliseconds after which a case is asked for again: another run may have overtaken it
let feed = null; // of this page: columns that were fetched stay

async function shown(root, data, setTriggerValue) {
  const base = document.baseURI;
  const [{ Table }, { Feed }] = await Promise.all(["table", "feed"].map((name) => import(new URL(`list/${name}.mjs`, base))));
  feed ??= new Feed(base);
  if (!tables.has(root)) {
    tables.set(root, new Table(root, feed, (key, rows) => {
      const ask = () => tables.has(root) && root.isConnected && setTriggerValue("opened", { key, rows: rows.join(",") });
      ask();
      AGAIN.forEach((later) => setTimeout(ask, later));
    }));
  }
  await tables.get(root).show(data);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".worklist");
  shown(root, data, setTriggerValue).catch((error) => {
    const failed = parentElement.querySelector(".failed");
    failed.textContent = `The list cannot be shown. ${error.message}`;
    failed.hidden = false;
    console.warn(error);
  });
  return () => {
    tables.get(root)?.close();
    tables.delete(root);
  };
}
