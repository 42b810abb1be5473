// Verifies recorded webhooks with the npm package standardwebhooks, and sees that it refuses what was changed.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { secret, requests } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const webhook = new Webhook(secret);
for (const { headers, body } of requests) {
  // The recording is older than the five minutes that the library allows.
  Date.now = () => Number(headers["webhook-timestamp"]) * 1000;
  webhook.verify(body, headers);
  for (const [what, changed] of Object.entries({
    body: () => webhook.verify(body.replace("orders", "others"), headers),
    id: () => webhook.verify(body, { ...headers, "webhook-id": headers["webhook-id"] + "1" }),
    secret: () => new Webhook("whsec_" + btoa("another secret, of 32 characters")).verify(body, headers),
    time: () => webhook.verify(body, { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1) }),
  })) {
    let refused = false;
    try {
      changed();
    } catch {
      refused = true;
    }
    if (!refused) throw new Error(`accepted with another ${what}: ${headers["webhook-id"]}`);
  }
}
console.log(`standardwebhooks accepts ${requests.length} webhooks, and none with another body, id, secret or time`);
