// Writes down of each frame what a person could see of a case, in window.frames; see test_case_page.py.
() => {
    const root = [...document.querySelectorAll("*")].map((part) => part.shadowRoot).find((root) => root?.querySelector(".room"));
    const room = root.querySelector(".room");
    const canvas = root.querySelector("canvas.plain");
    window.frames = [];
    const look = () => {
        const hidden = room.classList.contains("waiting");
        const { width, height } = canvas;
        const pixel = hidden ? 0 : canvas.getContext("2d").getImageData(width / 2, height / 2, 1, 1).data[0];
        const text = (selector) => root.querySelector(selector).textContent;
        window.frames.push(hidden ? [text(".heading"), canvas.dataset.shown ?? ""]
          : [room.dataset.case, root.querySelector(".panel").dataset.case, canvas.dataset.shown, text(".heading"), text(".score .value"), pixel]);
        window.looking = requestAnimationFrame(look);
    };
    look();
}
