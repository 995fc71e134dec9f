"use strict";

const form = document.getElementById("login");
const message = document.getElementById("message");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const password = document.getElementById("password").value;
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Medseg": "1" },
      body: JSON.stringify({ password }),
    });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    message.textContent = (await answer.json()).error;
  } catch {
    message.textContent = "the viewer does not answer: is it still running?";
  }
});
