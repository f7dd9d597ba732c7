// Signing in and out: the form, and who is signed in.

import { element } from "./element.js";

/** A form that signs in. It may say why it is there. */
export function signInForm(session, why) {
  const input = (id, type, autocomplete) => element("input", { id, type, autocomplete, required: true });
  const email = input("email", "email", "username");
  const password = input("password", "password", "current-password");
  const said = element("p", { role: "alert", class: "bad" }, why);
  const button = element("button", {}, "Sign in");
  const form = element(
    "form",
    // It is never sent by the browser; if it were, then not with the password in an address.
    { method: "post" },
    element("h2", {}, "Sign in"),
    said,
    element("label", { for: "email" }, "E-mail", email),
    element("label", { for: "password" }, "Password", password),
    button,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    said.textContent = "";
    try {
      await session.signIn(email.value, password.value);
    } catch (error) {
      said.textContent = `${error.message}.`;
      password.value = "";
      password.focus();
    }
    button.disabled = false;
  });
  return form;
}

/** Who is signed in, and a way out. */
export function signedIn(session) {
  const { email, roles } = session.user;
  const button = element("button", { type: "button" }, "Sign out");
  button.addEventListener("click", () => session.signOut());
  return [element("span", {}, `${email} (${roles.join(", ")})`), button];
}
