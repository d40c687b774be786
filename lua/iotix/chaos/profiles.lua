-- Networks under a name, as data: what acts on every device (the JSON of runtime/link/fault_spec.h) and where the figures are
-- from. "estimate" stands where no publication was found; nothing here is a guarantee of any operator. Rates and delays of
-- browser presets are those of a whole request: the delay is a round trip, halved here to each direction (rtt).
return {
  ["poor-cellular"] = {
    version = 1,
    description = "A phone network at the edge of its coverage: 200 ms round trip, 5 % loss, 500 kbit/s",
    source = "The figures are the definition of this profile; of the order of WebPageTest's [3GSlow] (400 kbit/s, 400 ms; "
      .. "in older versions 780 kbit/s, 200 ms) with losses added",
    fault = { rtt = "200ms", loss = "5%", bandwidth = "500kbit" },
  },
  ["intermittent-connectivity"] = {
    version = 1,
    description = "Cut off for 30 s in every 5 min, each device at a time of its own",
    source = "The figures are the definition of this profile",
    fault = { partition = true, during = { on = "30s", every = "5m", spread = true } },
  },
  ["satellite-link"] = {
    version = 1,
    description = "A geostationary satellite: 600 ms round trip, 10 Mbit/s down, 2 Mbit/s up",
    source = "Delay: RFC 2488 section 2 (558 ms of propagation at the edge of view) and G. Huston, \"Using LEOs and GEOs\", APNIC "
      .. "2022 (round trips around 600 ms). Rates, jitter and loss (0.5 %): estimate",
    fault = {
      latency = { value = "300ms", jitter = "10ms" }, loss = "0.5%",
      up = { bandwidth = { rate = "2mbit", queueTime = "500ms" } }, down = { bandwidth = { rate = "10mbit", queueTime = "500ms" } },
    },
  },
  ["2g"] = {
    version = 1,
    description = "GPRS: 500 ms round trip, 50 kbit/s down, 20 kbit/s up",
    source = "Preset \"GPRS\" of the Firefox developer tools (50/20 kbit/s, 500 ms). Jitter and loss (2 %): estimate",
    fault = {
      latency = { value = "250ms", jitter = "50ms" }, loss = "2%",
      up = { bandwidth = "20kbit" }, down = { bandwidth = "50kbit" },
    },
  },
  edge = {
    version = 1,
    description = "EDGE: 840 ms round trip, 240 kbit/s down, 200 kbit/s up",
    source = "WebPageTest, www/settings/connectivity.ini.sample, [Edge] \"Mobile Edge (240 Kbps/200 Kbps 840ms RTT)\". Jitter and loss "
      .. "(1 %): estimate",
    fault = {
      latency = { value = "420ms", jitter = "60ms" }, loss = "1%",
      up = { bandwidth = "200kbit" }, down = { bandwidth = "240kbit" },
    },
  },
  ["3g"] = {
    version = 1,
    description = "UMTS/HSPA: 300 ms round trip, 1.6 Mbit/s down, 768 kbit/s up",
    source = "WebPageTest, www/settings/connectivity.ini.sample, [3G] \"Mobile 3G (1.6 Mbps/768 Kbps 300ms RTT)\". Jitter and loss "
      .. "(0.5 %): estimate",
    fault = {
      latency = { value = "150ms", jitter = "20ms" }, loss = "0.5%",
      up = { bandwidth = "768kbit" }, down = { bandwidth = "1600kbit" },
    },
  },
  lte = {
    version = 1,
    description = "LTE: 70 ms round trip, 12 Mbit/s each way",
    source = "WebPageTest, \"Mobile LTE\" of its Windows agent and of later connectivity.ini.sample (12 Mbit/s each way, 70 ms). Jitter "
      .. "and loss (0.1 %): estimate",
    fault = { latency = { value = "35ms", jitter = "5ms" }, loss = "0.1%", bandwidth = "12mbit" },
  },
  ["5g"] = {
    version = 1,
    description = "5G NR: 20 ms round trip, 100 Mbit/s down, 50 Mbit/s up",
    source = "Rates: the user experienced data rates that Report ITU-R M.2410-0 (11/2017) asks for in dense urban areas, 100 Mbit/s down "
      .. "and 50 Mbit/s up. Delay (the report's user plane latency, 4 ms, is the radio's alone), jitter and loss (0.05 %): estimate",
    fault = {
      latency = { value = "10ms", jitter = "2ms" }, loss = "0.05%",
      up = { bandwidth = "50mbit" }, down = { bandwidth = "100mbit" },
    },
  },
  ["nb-iot"] = {
    version = 1,
    description = "NB-IoT (Cat NB1): 1.6 s round trip with a long tail, 26 kbit/s down, 62 kbit/s up",
    source = "Peak rates of Cat NB1, 3GPP release 13 (26 kbit/s down, 62 kbit/s up multi-tone), delay: the lower end of the 1.6 to "
      .. "10 s that are commonly stated; S. Ugwuanyi, G. Paul, J. Irvine, Electronics 2021, 10(18), 2224, measured 837 ms. Shape and "
      .. "loss (1 %): estimate",
    fault = {
      latency = { value = "800ms", jitter = "250ms", distribution = "pareto" }, loss = "1%",
      up = { bandwidth = "62kbit" }, down = { bandwidth = "26kbit" },
    },
  },
  ["lte-m"] = {
    version = 1,
    description = "LTE-M (Cat M1): 120 ms round trip, 1 Mbit/s each way",
    source = "Peak rates of Cat M1, 3GPP release 13 (1 Mbit/s, full duplex). Delay, jitter and loss (0.5 %): estimate",
    fault = { latency = { value = "60ms", jitter = "15ms" }, loss = "0.5%", bandwidth = "1mbit" },
  },
  ["lora-like"] = {
    version = 1,
    description = "As slow and small as LoRaWAN at DR5: 5.47 kbit/s, 242 bytes a message, answers after a second",
    source = "LoRaWAN Regional Parameters RP002-1.0.5, EU863-870, DR5 (SF7, 125 kHz): 5470 bit/s (table 10), 242 bytes of payload without "
      .. "a repeater (table 16), RECEIVE_DELAY1 1 s (section 3.3). Loss (10 %): estimate. It is no model of "
      .. "LoRaWAN: no duty cycle, no spreading factors, no collisions",
    fault = {
      loss = "10%", mtu = 242, bandwidth = { rate = "5470bit", queueTime = "30s" },
      up = { latency = { value = "100ms", jitter = "20ms" } }, down = { latency = { value = "1s", jitter = "20ms" } },
    },
  },
  ["wifi-congested"] = {
    version = 1,
    description = "A crowded 2.4 GHz channel: 60 ms round trip with a long tail, losses in bursts of 4 (2 %), 4 Mbit/s",
    source = "estimate",
    fault = {
      latency = { value = "30ms", jitter = "20ms", distribution = "pareto" },
      loss = { burst = { p = 0.0051, r = 0.25 } }, bandwidth = "4mbit",
    },
  },
  leo = {
    version = 1,
    description = "A constellation in low orbit: 45 ms round trip, 100 Mbit/s down, 15 Mbit/s up, losses in bursts (1 %)",
    source = "That losses come in bursts at handovers: \"A browser-side view of Starlink connectivity\", IMC 2022; that the links are "
      .. "arranged anew every 15 s: Mohan et al., arXiv:2310.09242. The figures: estimate",
    fault = {
      latency = { value = "22ms", jitter = "6ms" }, loss = { burst = { p = 0.001, r = 0.1 } },
      up = { bandwidth = "15mbit" }, down = { bandwidth = "100mbit" },
    },
  },
  ["train-tunnel"] = {
    version = 1,
    description = "A train on LTE that is in a tunnel for 25 s of every 3 min: worse before it, nothing inside",
    source = "estimate",
    fault = {
      trace = {
        rows = { { 0, 0.07, 0.001, 12e6 }, { 135, 0.15, 0.03, 1e6 }, { 145, 0.3, 0.1, 2e5 }, { 150, 0.3, 0.1, 0 },
          { 175, 0.2, 0.05, 1e6 }, { 180, 0.07, 0.001, 12e6 }, { 180.001, 0.07, 0.001, 12e6 } },
        ["repeat"] = true,
      },
    },
  },
}
