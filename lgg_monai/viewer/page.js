"use strict";
// The table: sorting, filtering. The viewer: one patient at a time, its volumes loaded by a script on demand.
(() => {
  const find = (id) => document.getElementById(id);
  const table = find("patients");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const compare = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;

  // ---- table ----
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(heading));
  }

  function sort(heading) {
    const place = heading.cellIndex;
    // Numbers are mostly looked at from the largest down, names from A to Z.
    const first = place === 0 ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first ? other : first;
    for (const cell of heading.parentNode.cells) cell.setAttribute("aria-sort", cell === heading ? order : "none");
    const key = (row) => row.cells[place].dataset.key;
    rows.sort((one, another) => {
      const [left, right] = [key(one), key(another)];
      if (left === "" || right === "") return (left === "") - (right === "");
      const both = [Number(left), Number(right)];
      const difference = both.every(Number.isFinite) ? both[0] - both[1] : compare(left, right);
      return order === "ascending" ? difference : -difference;
    });
    body.append(...rows);
    step(0);
  }

  function filter() {
    const words = find("filter").value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const flagged = find("flagged")?.checked;
    let shown = 0;
    for (const row of rows) {
      const warnings = row.cells[row.cells.length - 1];
      const text = `${row.dataset.name} ${warnings.textContent}`.toLocaleLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) && (!flagged || warnings.dataset.key !== ""));
      shown += !row.hidden;
    }
    find("count").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} scans`;
  }

  find("tools").hidden = false;
  find("filter").addEventListener("input", filter);
  find("flagged")?.addEventListener("change", filter);
  find("more")?.addEventListener("change", (event) => table.classList.toggle("hide-more", !event.target.checked));
  filter();

  // What is folded on the screen is read on paper.
  const folded = () => body.querySelectorAll("details");
  window.addEventListener("beforeprint", () => { for (const part of folded()) part.open = true; });
  window.addEventListener("afterprint", () => { for (const part of folded()) part.open = false; });

  // ---- loading ----
  const received = new Map();
  window.lggViewer = { receive: (content) => received.set(content.id, content) };

  function loadScript(address) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = () => { script.remove(); resolve(); };
      script.onerror = () => { script.remove(); reject(new Error(`cannot load ${address}`)); };
      document.head.append(script);
    });
  }

  async function loadVolumes(row) {
    await loadScript(row.dataset.volumes);
    const content = received.get(row.dataset.id);
    received.clear();
    if (!content) throw new Error(`no volumes in ${row.dataset.volumes}`);
    return content;
  }

  // ---- viewer ----
  const dialog = find("viewer");
  const canvas = find("canvas");
  const planes = new Set(["0", "1", "2"]); // views of one plane, by the axis that they scroll along
  const roles = ["flair", "probability", "truth", "mask"]; // from the bottom up
  const view = { row: null, content: null, niivue: null, layers: [], mode: null, plane: null, ticket: 0 };
  let opener = null;
  let drawable = null; // whether there is WebGL 2; asked for with the first patient, as asking may take a while

  const palette = (red, green, blue, within) =>
    ({ R: [red, red, red], G: [green, green, green], B: [blue, blue, blue], A: [0, within, 255], I: [0, 128, 255] });
  const FILLED = 0.5; // of the chosen opacity, so that FLAIR is seen through a filled mask

  async function start() {
    if (view.niivue) return;
    if (!window.niivue) await loadScript("viewer/niivue.js");
    const made = new window.niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.4, 0.7, 1, 0.7],
      crosshairWidth: 0.6,
      crosshairGap: 8,
      show3Dcrosshair: false,
      showAllOrientationMarkers: true,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isOrientCube: false,
      multiplanarShowRender: 1,
      multiplanarPadPixels: 4,
      dragAndDropEnabled: false,
      loadingText: "",
      logLevel: "error",
      isNearestInterpolation: true,
    });
    // NiiVue smooths all layers or none. FLAIR is smoothed; masks stay exact to the voxel, without rims of mixed colours.
    const interpolate = made.updateInterpolation.bind(made);
    made.updateInterpolation = (layer, linear = false) => interpolate(layer, linear || layer === 0);
    // Within a mask values are 1, on its edge 2; so masks are drawn as outlines or filled by their colours alone.
    // Slices take no notice of the opacity (A): it makes the head translucent in 3D, so that the tumour is seen in it.
    made.addColormap("flair", { R: [0, 255], G: [0, 255], B: [0, 255], A: [0, 30], I: [0, 255] });
    made.addColormap("mask-outline", palette(255, 40, 190, 0));
    made.addColormap("mask-filled", palette(255, 40, 190, 255));
    made.addColormap("truth-outline", palette(90, 230, 120, 0));
    made.addColormap("truth-filled", palette(90, 230, 120, 255));
    made.onLocationChange = showPlace;
    await made.attachToCanvas(canvas);
    view.niivue = made;
  }

  function open(row) {
    if (!dialog.open) {
      opener = document.activeElement;
      dialog.showModal();
      find("viewer-name").focus();
    }
    view.row = row;
    view.content = null;
    const picture = row.querySelector("th a");
    find("viewer-name").textContent = row.dataset.name;
    find("picture").src = picture.getAttribute("href");
    find("picture").alt = `Slices of ${row.dataset.name} with the outlines of the masks`;
    find("cubes").hidden = !("cubes" in row.dataset);
    showFacts(row);
    step(0);
    remember(row);
    show(row);
  }

  async function show(row) {
    const ticket = ++view.ticket;
    drawable ??= Boolean(document.createElement("canvas").getContext("webgl2"));
    if (!drawable) return fall("This browser has no WebGL 2, which the interactive view needs: slices are shown as pictures.");
    message("Loading the volumes");
    try {
      const [content] = await Promise.all([loadVolumes(row), start()]);
      if (ticket !== view.ticket) return;
      view.plane = content.plane;
      view.mode ??= String(content.plane);
      const present = roles.filter((role) => role in content.layers);
      const images = await Promise.all(present.map((role) => window.niivue.NVImage.loadFromBase64({
        base64: content.layers[role],
        name: `${role}.nii.gz`,
        colormap: role === "flair" ? "flair" : role === "probability" ? "hot" : colours(role),
        opacity: opacity(role),
        cal_min: { flair: brightness()[0], probability: 12 }[role] ?? 0, // below 5 % no probability is drawn
        cal_max: { flair: brightness()[1], probability: 255 }[role] ?? 2,
      })));
      if (ticket !== view.ticket) return;
      view.niivue.volumes = [];
      view.niivue.setSliceType(0); // the cheapest to draw while the layers arrive
      for (const image of images) view.niivue.addVolume(image);
      view.layers = present;
      view.content = content;
      message("");
      prepare();
    } catch (error) {
      if (ticket !== view.ticket) return;
      fall("The volumes could not be loaded: keep this page together with its folder “viewer”. Slices are shown as pictures.");
      console.warn(error);
    }
  }

  function prepare() {
    const { content, layers } = view;
    for (const line of find("slices").children) {
      const axis = content.axes[Number(line.dataset.axis)];
      const slider = line.querySelector("input");
      slider.max = axis.size - 1;
      slider.disabled = axis.size < 2;
    }
    for (const line of find("layers").querySelectorAll(".layer")) line.hidden = !layers.includes(line.dataset.role);
    find("outline").parentNode.hidden = !layers.includes("mask") && !layers.includes("truth");
    find("largest").disabled = !content.tumour;
    for (const part of find("panel").querySelectorAll(".live")) part.hidden = false;
    view.niivue.scene.crosshairPos = view.niivue.vox2frac(content.centre);
    setMode(view.mode);
    showPlace();
    // The keys work at once; whoever has moved on to a control stays there.
    if (document.activeElement === find("viewer-name") && !canvas.hidden) canvas.focus();
  }

  function fall(reason) {
    // Pictures need neither WebGL nor the volumes; the controls would do nothing.
    for (const part of find("panel").querySelectorAll(".live")) part.hidden = true;
    find("still").hidden = false;
    canvas.hidden = true;
    message(reason);
  }

  function message(text) {
    find("message").textContent = text;
  }

  function colours(role) {
    // Outlines run within the slices as acquired; across them they would be dots.
    const along = view.mode === String(view.plane);
    return `${role}-${along && find("outline").checked ? "outline" : "filled"}`;
  }

  function layerOf(role) {
    return find("layers").querySelector(`[data-role="${role}"]`);
  }

  function opacity(role) {
    const [check, slider] = layerOf(role).querySelectorAll("input");
    const filled = view.mode !== "3d" && ["mask", "truth"].includes(role) && colours(role).endsWith("filled");
    return check.checked ? (filled ? FILLED : 1) * Number(slider.value) / 100 : 0;
  }

  function brightness() {
    const [black, white] = [Number(find("black").value), Number(find("white").value)];
    return [Math.min(black, white - 1), white];
  }

  // Bring the layers to what the controls say; drawing is left alone where nothing differs.
  function refresh() {
    let differs = false;
    const set = (image, name, value) => {
      if (image[name] === value) return;
      image[name] = value;
      differs = true;
    };
    view.layers.forEach((role, place) => {
      const image = view.niivue.volumes[place];
      set(image, "opacity", opacity(role));
      if (role === "mask" || role === "truth") set(image, "colormap", colours(role));
    });
    const [black, white] = brightness();
    set(view.niivue.volumes[0], "cal_min", black);
    set(view.niivue.volumes[0], "cal_max", white);
    if (differs) view.niivue.updateGLVolume();
  }

  function setMode(mode) {
    view.mode = mode;
    refresh();
    for (const choice of find("views").querySelectorAll("input")) choice.checked = choice.value === mode;
    const still = mode === "still";
    find("still").hidden = !still;
    canvas.hidden = still;
    // NiiVue's numbers: axial, coronal, sagittal, all, 3D.
    if (!still) {
      view.niivue.setSliceType({ 2: 0, 1: 1, 0: 2, all: 3, "3d": 4 }[mode]);
    }
    for (const line of find("slices").children) line.hidden = still || (planes.has(mode) && line.dataset.axis !== mode);
    for (const part of find("panel").querySelectorAll(".moving")) part.hidden = still;
  }

  function voxel() {
    return Array.from(view.niivue.frac2vox(view.niivue.scene.crosshairPos), Math.round);
  }

  function goTo(place) {
    const limited = place.map((index, axis) => Math.min(Math.max(index, 0), view.content.axes[axis].size - 1));
    view.niivue.scene.crosshairPos = view.niivue.vox2frac(limited);
    view.niivue.drawScene();
    showPlace();
  }

  // Slices are numbered as in the patient's file, which may run against the viewer's axes.
  function number(axis, index) {
    const { size, flipped } = view.content.axes[axis];
    return flipped ? size - index : index + 1;
  }

  function showPlace() {
    if (!view.content) return;
    const place = voxel();
    for (const line of find("slices").children) {
      const axis = Number(line.dataset.axis);
      const text = `${number(axis, place[axis])} of ${view.content.axes[axis].size}`;
      const slider = line.querySelector("input");
      slider.value = place[axis];
      slider.setAttribute("aria-valuetext", text);
      line.querySelector("output").textContent = text;
    }
    const axis = scrolled();
    find("where").textContent =
      `${view.content.axes[axis].plane} slice ${number(axis, place[axis])} of ${view.content.axes[axis].size}`;
  }

  // The axis that keys scroll along: of the plane shown, or of the plane that the volume was acquired in.
  function scrolled() {
    return planes.has(view.mode) ? Number(view.mode) : view.content.plane;
  }

  function scroll(by) {
    const place = voxel();
    place[scrolled()] += by;
    goTo(place);
  }

  function showFacts(row) {
    const headings = Array.from(table.tHead.rows[0].cells).slice(1, -1);
    find("measurements").replaceChildren(...headings.flatMap((heading, index) => {
      const [term, value] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = heading.textContent;
      value.textContent = row.cells[index + 1].textContent;
      return [term, value];
    }));
    const last = row.cells[row.cells.length - 1];
    const texts = Array.from(last.querySelectorAll(".failed, span.flag, li"), (part) => part.textContent);
    const list = document.createElement("ul");
    list.className = "flag";
    list.append(...texts.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
    const title = document.createElement("h3");
    title.textContent = "Warnings";
    find("warnings").replaceChildren(...(texts.length ? [title, list] : []));
    const links = Array.from(last.querySelectorAll(".file"), (link) => {
      const copy = link.cloneNode(true);
      copy.hidden = false;
      return copy;
    });
    find("files").replaceChildren(...links.flatMap((link, index) => [index ? ", " : "Files: ", link]));
  }

  // ---- moving between patients ----
  function openable() {
    return rows.filter((row) => row.dataset.volumes && (!row.hidden || row === view.row));
  }

  function step(by) {
    if (!view.row) return;
    const list = openable();
    const place = list.indexOf(view.row) + by;
    if (by && list[place]) open(list[place]);
    else {
      find("previous").disabled = place <= 0;
      find("next").disabled = place >= list.length - 1;
    }
  }

  function remember(row) {
    // Where the address cannot be changed, the page works all the same.
    try {
      const here = location.href.split("#")[0];
      history.replaceState(null, "", row ? `${here}#${row.dataset.id}` : here);
    } catch { /* as said */ }
  }

  body.addEventListener("click", (event) => {
    const link = event.target.closest("th a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link.closest("tr"));
  });
  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  find("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    view.ticket += 1;
    remember(null);
    const link = view.row?.querySelector("th a");
    (link ?? opener)?.focus();
    view.row = null;
  });

  // ---- controls ----
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  find("views").addEventListener("change", (event) => setMode(event.target.value));
  find("slices").addEventListener("input", (event) => {
    const place = voxel();
    place[Number(event.target.closest("[data-axis]").dataset.axis)] = Number(event.target.value);
    goTo(place);
  });
  find("largest").addEventListener("click", () => goTo(view.content.centre));
  for (const control of ["layers", "brightness"]) find(control).addEventListener("input", refresh);

  function toggle(role) {
    if (!view.layers.includes(role)) return;
    const check = layerOf(role).querySelector("input");
    check.checked = !check.checked;
    refresh();
  }

  function turn(azimuth, elevation) {
    const { scene } = view.niivue;
    view.niivue.setRenderAzimuthElevation(scene.renderAzimuth + azimuth, scene.renderElevation + elevation);
  }

  const flat = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5, Home: -1e6, End: 1e6 };
  const solid = { ArrowUp: [0, 5], ArrowDown: [0, -5], ArrowLeft: [5, 0], ArrowRight: [-5, 0] };
  const letters = {
    l: () => goTo(view.content.centre),
    m: () => toggle("mask"),
    t: () => toggle("truth"),
    p: () => toggle("probability"),
    f: () => toggle("flair"),
    o: () => { find("outline").checked = !find("outline").checked; refresh(); },
    n: () => step(1),
    b: () => step(-1),
  };
  const modes = ["2", "1", "0", "all", "3d", "still"];

  // Before NiiVue, whose own keys do other things without a word on the page.
  find("stage").addEventListener("keydown", (event) => {
    if (!view.content || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    let known = true;
    if (view.mode === "3d" && key in solid) turn(...solid[key]);
    else if (view.mode !== "still" && view.mode !== "3d" && key in flat) scroll(flat[key]);
    else if (key in letters) letters[key]();
    else if (/^[1-6]$/.test(key)) {
      setMode(modes[key - 1]);
      (view.mode === "still" ? find("still") : canvas).focus();
    } else known = false;
    if (known) event.preventDefault();
    if (key !== "Tab" && key !== "Escape") event.stopPropagation();
  }, true);
  find("stage").addEventListener("keyup", (event) => event.stopPropagation(), true);

  const asked = rows.find((row) => row.dataset.id === location.hash.slice(1));
  if (asked?.dataset.volumes) open(asked);
})();
