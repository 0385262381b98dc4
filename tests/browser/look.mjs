// Opens pages in headless Chromium, waits for the texts that a person looks for, and makes a screenshot of each page.
// Reads {chromium, folder, pages: [{name, url, texts, click}]} as JSON from stdin; prints a line for each text.
// Exit code 1 if any text is missing.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const PATIENCE_MS = 20_000; // the page loads the history and decodes its payloads
const PAUSE_MS = 200;

// Whether a text appears in any frame of a page: Markdown is in frames of its own.
async function appears(page, text) {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await page.waitForTimeout(PAUSE_MS)) {
    for (const frame of page.frames()) {
      if ((await frame.getByText(text).count().catch(() => 0)) > 0) return true;
    }
  }
  return false;
}

const asked = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({ executablePath: asked.chromium, args: ["--no-sandbox"] });
let missing = 0;
for (const { name, url, texts, click } of asked.pages) {
  const page = await browser.newPage({ viewport: { width: 1500, height: 1200 } });
  await page.goto(url);
  if (click) await page.getByText(click, { exact: true }).first().click({ timeout: PATIENCE_MS });
  for (const text of texts) {
    const found = await appears(page, text);
    missing += found ? 0 : 1;
    console.log(`${found ? "found  " : "MISSING"} ${name}: ${text}`);
  }
  await page.screenshot({ path: join(asked.folder, `${name}.png`), fullPage: true });
  await page.close();
}
await browser.close();
process.exit(missing ? 1 : 0);
