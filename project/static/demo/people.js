/** Everybody of a room, and who of them is here on how many devices. */

export class People {
  #people;
  #here = new Map();
  #live = false;

  /** `people` are the room's owner and members, `me` the reader. */
  constructor(list, people, me) {
    this.list = list;
    this.me = me;
    this.#people = new Map(people.map((person) => [person.id, person]));
  }

  /** Take who is here now. */
  show(members) {
    this.#here = new Map(members.map(({ user, devices }) => [user.id, devices]));
    for (const { user } of members) this.#people.set(user.id, user);
    this.#render();
  }

  add(person) {
    this.#people.set(person.id, person);
    this.#render();
  }

  /** Whether anything is known about who is here. */
  setLive(live) {
    if (live === this.#live) return;
    this.#live = live;
    this.#render();
  }

  #render() {
    this.list.replaceChildren(...[...this.#people.values()].map((person) => this.#build(person)));
  }

  #build({ id, name }) {
    const devices = this.#live ? this.#here.get(id) ?? 0 : 0;
    const item = document.createElement("li");
    item.className = "person";
    item.dataset.name = name;
    item.dataset.devices = devices;
    const initial = element("span", "initial", name.slice(0, 1).toUpperCase());
    initial.setAttribute("aria-hidden", "true");
    item.append(initial, element("bdi", "", id === this.me.id ? `${name} (you)` : name));
    if (devices > 1) item.append(element("span", "devices", `${devices} devices`));
    item.append(element("span", "visually-hidden", devices ? "is here" : "is not here"));
    return item;
  }
}

function element(name, className, text) {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}
