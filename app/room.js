// What Streamlit gives the page of a case goes to room/room.mjs, where everything else is.

const rooms = new WeakMap();

async function shown(data, parentElement, setTriggerValue) {
  const { Room } = await import(new URL("room/room.mjs", document.baseURI));
  const section = parentElement.querySelector(".room");
  if (rooms.get(parentElement)?.section !== section) {
    rooms.get(parentElement)?.close();
    rooms.set(parentElement, new Room(parentElement, data, {
      say: (verdicts) => setTriggerValue("said", verdicts),
      leave: (label) => setTriggerValue("left", label),
      keep: (drafts) => setTriggerValue("drafted", drafts),
      read: (name) => setTriggerValue("reading", name),
    }));
  }
  rooms.get(parentElement).hear(data);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const section = parentElement.querySelector(".room");
  shown(data, parentElement, setTriggerValue).catch((error) => {
    section.classList.add("failed");
    section.querySelector(".fault").textContent = "This browser cannot show the image. Please use a current one.";
    console.error(error);
  });
  return () => {
    rooms.get(parentElement)?.close();
    rooms.delete(parentElement);
  };
}
