#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "link/fault_spec.h"
#include "link/fault_trace.h"
#include "link/fault_text.h"

#define ROWS_TOO_MANY 100001u

// Every fault that the tests parse, with its canonical form (NULL: as it stands), and words.
static const struct {
    const char *text, *canonical, *words;
} good[] = {
    {"{'latency':'200ms'}", "{'latency':0.2}", "latency 200 ms"},
    {"{'latency':0.2}", NULL, "latency 200 ms"},
    {"{'rtt':'200ms'}", "{'latency':0.1}", "latency 100 ms"},
    {"{'rtt':{'ramp':{'from':'100ms','to':'1s','over':'1m'}}}", "{'latency':{'ramp':{'from':0.05,'to':0.5,'over':60}}}",
     "latency from 50.0 ms to 500 ms in 1m00s"},
    {"{'rtt':{'sine':{'mean':'100ms','amplitude':'100ms','period':'10s','phase':'25%'}}}",
     "{'latency':{'sine':{'mean':0.05,'amplitude':0.05,'period':10,'phase':0.25}}}",
     "latency 50.0 ms +- 50.0 ms every 10.0 s"},
    {"{'latency':{'value':'200ms','jitter':'50ms'}}", "{'latency':{'value':0.2,'jitter':0.05,'distribution':'normal'}}",
     "latency 200 ms \xc2\xb1 50.0 ms"},
    {"{'latency':{'value':'200ms','jitter':'50ms','distribution':'pareto','correlation':'25%'}}",
     "{'latency':{'value':0.2,'jitter':0.05,'distribution':'pareto','correlation':0.25}}",
     "latency 200 ms \xc2\xb1 50.0 ms"},
    {"{'latency':{'value':'200ms','distribution':'uniform'}}",
     "{'latency':{'value':0.2,'jitter':0,'distribution':'uniform'}}", "latency 200 ms"},
    {"{'loss':'5%'}", "{'loss':0.05}", "loss 5 %"},
    {"{'loss':1}", NULL, "loss 100 %"},
    {"{'loss':{'rate':0.05,'correlation':'25%'}}", "{'loss':{'rate':0.05,'correlation':0.25}}", "loss 5 %"},
    {"{'loss':{'burst':{'p':'1%','r':'25%'}}}", "{'loss':{'burst':{'p':0.01,'r':0.25}}}",
     "loss in bursts of 4 (3.85 %)"},
    {"{'loss':{'burst':{'p':0.01,'r':0.25,'good':0.001,'bad':0.5}}}", NULL, "loss in bursts of 4 (2.02 %)"},
    {"{'loss':{'ramp':{'from':0,'to':'50%','over':'30s'}}}", "{'loss':{'ramp':{'from':0,'to':0.5,'over':30}}}",
     "loss from 0 % to 50 % in 30.0 s"},
    {"{'duplicate':'1%','corrupt':{'rate':'2%','correlation':'50%'}}",
     "{'corrupt':{'rate':0.02,'correlation':0.5},'duplicate':0.01}", "corrupt 2 %, duplicate 1 %"},
    {"{'latency':'10ms','reorder':{'rate':'25%','gap':5}}", "{'latency':0.01,'reorder':{'rate':0.25,'gap':5}}",
     "latency 10.0 ms, reorder 25 %"},
    {"{'bandwidth':'500kbit'}", "{'bandwidth':{'rate':500000,'burst':1600,'queue':65536}}", "bandwidth 500 kbit/s"},
    {"{'bandwidth':{'rate':'1.5Mbit/s','burst':'4KB','queueTime':'2s','full':'drop'}}",
     "{'bandwidth':{'rate':1500000,'burst':4096,'queueTime':2,'full':'drop'}}", "bandwidth 1.5 Mbit/s"},
    {"{'bandwidth':{'rate':64000,'queue':8000,'full':'delay'}}",
     "{'bandwidth':{'rate':64000,'burst':1600,'queue':8000,'full':'delay'}}", "bandwidth 64 kbit/s"},
    {"{'mtu':576}", NULL, "mtu 576"},
    {"{'partition':true}", NULL, "partition"},
    {"{'partition':{}}", "{'partition':true}", "partition"},
    {"{'partition':{'direction':'up'}}", NULL, "partition up"},
    {"{'partition':{'direction':'both','hosts':'10.1.2.3/8','ports':1883}}",
     "{'partition':{'hosts':['10.0.0.0/8'],'ports':[1883]}}", "partition from host 10.0.0.0/8 on port 1883"},
    {"{'partition':{'hosts':['fd00::1/64','::1','::/0','::ffff:1.2.3.4','Broker.example.','10.0.0.7','0.0.0.0/0']}}",
     "{'partition':{'hosts':['fd00::/64','::1','::/0','1.2.3.4','Broker.example','10.0.0.7','0.0.0.0/0']}}",
     "partition from hosts fd00::/64 ::1 and 5 more"},
    {"{'partition':{'direction':'down','allow':{'protocols':['dns']}}}", NULL, "partition down but for dns"},
    {"{'partition':{'allow':[{'protocols':['dns']},{'ports':[8883]}]}}", NULL, "partition but for dns and others"},
    {"{'partition':{'protocols':['mqtt','coap'],'ports':[1,2,3]}}", NULL,
     "partition from mqtt coap on ports 1 2 and 1 more"},
    {"{'partition':{'allow':[{'ports':[53]}]}}", "{'partition':{'allow':{'ports':[53]}}}", "partition but for port 53"},
    {"{'halfOpen':true,'partition':false,'reset':false}", "{'halfOpen':true}", "half open"},
    {"{'reset':true}", NULL, "reset"},
    {"{'reset':{'every':'30s','jitter':'5s'}}", "{'reset':{'every':30,'jitter':5}}", "reset every 30.0 s"},
    {"{'slowClose':'3s'}", "{'slowClose':3}", "slow close 3.00 s"},
    {"{'dns':{'fail':'10%'},'connect':{'refuse':'30%','timeout':'70%'},'tls':{'fail':1}}",
     "{'dns':{'fail':0.1,'delay':0},'connect':{'refuse':0.3,'timeout':0.7,'delay':0},'tls':{'fail':1}}",
     "dns fails 10 %, connects refused 30 %, connects unanswered 70 %, tls fails 100 %"},
    {"{'dns':{'fail':0},'connect':{'timeout':0}}",
     "{'dns':{'fail':0,'delay':0},'connect':{'refuse':0,'timeout':0,'delay':0}}",
     "dns fails 0 %, connects refused 0 %"},
    {"{'dns':{'delay':'1s'},'connect':{'delay':{'ramp':{'from':0,'to':1,'over':1}}}}",
     "{'dns':{'fail':0,'delay':1},'connect':{'refuse':0,'timeout':0,'delay':{'ramp':{'from':0,'to':1,'over':1}}}}",
     "dns delay 1.00 s, connect delay from 0 us to 1.00 s in 1.00 s"},
    {"{'partition':true,'during':{'on':'30s','every':'5m','offset':'10s','spread':true}}",
     "{'partition':true,'during':{'on':30,'every':300,'offset':10,'spread':true}}", "partition, 30.0 s of every 5m00s"},
    {"{'latency':'200ms','up':{'loss':'5%'}}", "{'latency':0.2,'up':{'loss':0.05}}", "latency 200 ms, up (loss 5 %)"},
    {"{'latency':'200ms','up':{'latency':0},'down':{'mtu':576}}",
     "{'up':{'latency':0},'down':{'mtu':576,'latency':0.2}}", "up (latency 0 us), down (mtu 576, latency 200 ms)"},
    {"{'loss':'5%','down':{'loss':{'burst':{'p':0.1,'r':1}}}}",
     "{'up':{'loss':0.05},'down':{'loss':{'burst':{'p':0.1,'r':1}}}}",
     "up (loss 5 %), down (loss in bursts of 1 (9.09 %))"},
    {"{'up':{'loss':'5%'},'down':{'loss':0.05}}", "{'loss':0.05}", "loss 5 %"},
    {"{'trace':{'rows':[[0,'100ms','1%','1mbit'],[10,null,0,0]],'repeat':true}}",
     "{'trace':{'rows':[[0,0.1,0.01,1000000],[10,null,0,1]],'repeat':true}}", "trace of 2 rows"},
    {"{'trace':{'csv':'rate;time;rtt\\r\\n# a comment\\r\\n1mbit; 0 ;\\'80.5\\'\\r\\n\\r\\n;2.5;1s'}}",
     "{'trace':{'rows':[[0,0.0805,null,1000000],[2.5,1,null,null]],'repeat':false}}", "trace of 2 rows"},
    {"{'trace':{'csv':'Time,Loss\\n0,5%\\n1,0.5\\n1.5,1e-3\\n2,'},'reorder':'1%','latency':'1ms'}",
     "{'latency':0.001,'reorder':0.01,'trace':{'rows':[[0,null,0.05,null],[1,null,0.5,null],[1.5,null,0.001,null],"
     "[2,null,null,null]],'repeat':false}}",
     "latency 1.0 ms, reorder 1 %, trace of 4 rows"},
    {"{'trace':{'rows':[[0,0.1]]},'reorder':'1%'}",
     "{'reorder':0.01,'trace':{'rows':[[0,0.1,null,null]],'repeat':false}}", "reorder 1 %, trace of 1 row"},
};

static const struct {
    const char *text, *why; // part of the error
} bad[] = {
    {"[]", "fault: expected an object"},
    {"{}", "nothing would happen"},
    {"{'halfOpen':false}", "nothing would happen"},
    {"{'up':{}}", "nothing would happen"},
    {"{'during':{'on':1,'every':2}}", "nothing would happen"},
    {"{'latncy':1}", "did you mean \"latency\"?"},
    {"{'latency':'-5ms'}", "latency: expected a duration"},
    {"{'latency':-1}", "latency: expected a duration"},
    {"{'latency':'2h'}", "from 0 us to 1h00m, got \"2h\""},
    {"{'latency':1e300}", "latency: expected"},
    {"{'latency':null}", "got null"},
    {"{'latency':true}", "got true"},
    {"{'latency':[1]}", "got a list"},
    {"{'latency':'fast'}", "got \"fast\""},
    {"{'latency':{}}", "latency.value is missing"},
    {"{'latency':{'value':1,'jiter':1}}", "did you mean \"jitter\"?"},
    {"{'latency':{'value':1,'jitter':-1}}", "latency.jitter: expected"},
    {"{'latency':{'value':1,'distribution':'gauss'}}", "valid: normal, uniform, pareto"},
    {"{'latency':{'value':1,'distribution':7}}", "latency.distribution: expected normal, uniform, pareto, got 7"},
    {"{'latency':{'value':1,'correlation':1}}", "latency.correlation: expected a share"},
    {"{'latency':{'ramp':{'from':1}}}", "latency.ramp.to is missing"},
    {"{'latency':{'ramp':{'from':1,'to':2}}}", "latency.ramp.over is missing"},
    {"{'latency':{'ramp':{'from':1,'to':2,'over':0}}}", "latency.ramp.over: expected"},
    {"{'latency':{'ramp':{'from':1,'to':2,'over':1,'by':1}}}", "unknown key \"by\""},
    {"{'latency':{'ramp':1}}", "latency.ramp: expected {from, to, over}"},
    {"{'latency':{'ramp':{'from':1,'to':2,'over':1},'sine':{}}}", "expected either \"ramp\" or \"sine\""},
    {"{'latency':{'ramp':{'from':1,'to':2,'over':1},'jitter':1}}", "unknown key \"jitter\""},
    {"{'latency':{'value':{'value':1}}}", "latency.value: unknown key \"value\""},
    {"{'latency':{'sine':{'mean':1,'amplitude':2,'period':1}}}", "must stay between 0 us and 1h00m"},
    {"{'loss':{'sine':{'mean':0.9,'amplitude':0.2,'period':1}}}", "must stay between 0 % and 100 %"},
    {"{'bandwidth':{'sine':{'mean':1000,'amplitude':1000,'period':1}}}", "must stay between 1 bit/s"},
    {"{'latency':{'sine':{'mean':2,'amplitude':1,'period':1,'phase':2}}}", "sine.phase: expected a share"},
    {"{'latency':1,'rtt':1}", "either \"latency\""},
    {"{'loss':5}", "loss: expected a share like \"5%\" or 0.05 from 0 % to 100 %, got 5"},
    {"{'loss':'150%'}", "loss: expected a share"},
    {"{'loss':-0.01}", "loss: expected a share"},
    {"{'loss':{}}", "either \"rate\" or \"burst\""},
    {"{'loss':{'rte':1}}", "did you mean \"rate\"?"},
    {"{'loss':{'correlation':0.5}}", "either \"rate\" or \"burst\""},
    {"{'loss':{'rate':0.1,'burst':{'p':1,'r':1}}}", "stands alone"},
    {"{'loss':{'burst':{'p':0.1}}}", "loss.burst.r is missing"},
    {"{'loss':{'burst':{'r':0.1}}}", "loss.burst.p is missing"},
    {"{'loss':{'burst':{'p':0.1,'r':0}}}", "would never end"},
    {"{'loss':{'burst':{'p':0.1,'r':2}}}", "loss.burst.r: expected a share"},
    {"{'loss':{'burst':true}}", "loss.burst: expected {p, r, good, bad}, got true"},
    {"{'reorder':'5%'}", "reorder needs latency in the same direction (up has none)"},
    {"{'reorder':'5%','latency':0}", "reorder needs latency"},
    {"{'reorder':'5%','up':{'latency':1}}", "(down has none)"},
    {"{'latency':1,'reorder':{'rate':0.1,'gap':0}}", "reorder.gap: expected a whole number from 1"},
    {"{'latency':1,'reorder':{'gap':3}}", "reorder.rate is missing"},
    {"{'duplicate':{'rate':0.1,'gap':2}}", "unknown key \"gap\""},
    {"{'bandwidth':0}", "bandwidth: expected a rate"},
    {"{'bandwidth':-5}", "bandwidth: expected a rate"},
    {"{'bandwidth':'0kbit'}", "from 1 bit/s to 1000 Gbit/s"},
    {"{'bandwidth':'500kbps'}", "leaves open whether it means bits or bytes"},
    {"{'bandwidth':'500KB/s'}", "leaves open whether it means bits or bytes"},
    {"{'bandwidth':'500k'}", "leaves open"},
    {"{'bandwidth':'much'}", "is not a rate"},
    {"{'bandwidth':'-1kbit'}", "is negative"},
    {"{'bandwidth':'5000gbit'}", "bandwidth: expected a rate"},
    {"{'bandwidth':{'queue':1000}}", "bandwidth.rate is missing"},
    {"{'bandwidth':{'rate':1,'queue':1000,'queueTime':1}}", "either \"queue\""},
    {"{'bandwidth':{'rate':1,'queue':-1}}", "bandwidth.queue: expected a size"},
    {"{'bandwidth':{'rate':1,'full':'block'}}", "valid: drop, delay"},
    {"{'mtu':20}", "mtu: expected a whole number from 68 to 65535"},
    {"{'mtu':1500.5}", "mtu: expected a whole number"},
    {"{'partition':'yes'}", "partition: expected true or"},
    {"{'partition':{'hosts':[]}}", "partition.hosts: the list is empty"},
    {"{'partition':{'hosts':['10.0.0.300']}}", "partition.hosts[0]: expected an address"},
    {"{'partition':{'hosts':['10.0.0.0/33']}}", "prefix after / must be 0 to 32"},
    {"{'partition':{'hosts':['fd00::/129']}}", "0 to 128"},
    {"{'partition':{'hosts':['a b']}}", "expected an address"},
    {"{'partition':{'hosts':['a..b']}}", "expected an address"},
    {"{'partition':{'hosts':['']}}", "expected an address"},
    {"{'partition':{'hosts':[1]}}", "got 1"},
    {"{'partition':{'ports':[0]}}", "partition.ports[0]: expected a whole number from 1 to 65535"},
    {"{'partition':{'ports':['mqtt']}}", "partition.ports[0]"},
    {"{'partition':{'protocols':['mqtts']}}", "with TLS or WebSocket it is still \"mqtt\""},
    {"{'partition':{'protocols':['tcp']}}", "got \"tcp\""},
    {"{'partition':{'protocols':['MQTT']}}", "got \"MQTT\""},
    {"{'partition':{'direction':'left'}}", "valid: both, up, down"},
    {"{'partition':{'allow':{}}}", "partition.allow: expected at least one of hosts"},
    {"{'partition':{'allow':[{'ports':[1]},{}]}}", "partition.allow[1]: expected at least one"},
    {"{'partition':{'allow':[]}}", "1 to 256 entries"},
    {"{'partition':{'allow':{'direction':'up'}}}", "unknown key \"direction\""},
    {"{'partition':{'host':'a'}}", "did you mean \"hosts\"?"},
    {"{'halfOpen':1}", "halfOpen: expected true or false"},
    {"{'reset':{'jitter':1}}", "reset.every is missing"},
    {"{'reset':{'every':0}}", "reset.every: expected"},
    {"{'reset':1}", "reset: expected true or {every, jitter}"},
    {"{'slowClose':'1d'}", "slowClose: expected"},
    {"{'dns':{}}", "at least one of fail, delay"},
    {"{'dns':{'fail':2}}", "dns.fail: expected a share"},
    {"{'connect':{}}", "at least one of refuse, timeout, delay"},
    {"{'connect':{'refuse':0.6,'timeout':0.6}}", "more than all connects (120 %)"},
    {"{'tls':{}}", "tls.fail is missing"},
    {"{'tls':true}", "tls: expected {fail}"},
    {"{'loss':1,'during':{'on':10,'every':5}}", "\"on\" (10.0 s) is longer than \"every\" (5.00 s)"},
    {"{'loss':1,'during':{'on':10}}", "during.every is missing"},
    {"{'loss':1,'during':{'on':0,'every':5}}", "during.on: expected"},
    {"{'loss':1,'during':{'on':1,'every':5,'offset':-1}}", "during.offset: expected"},
    {"{'loss':1,'during':{'on':1,'every':5,'spread':'yes'}}", "during.spread: expected true or false"},
    {"{'up':{'partition':true}}", "up: unknown key \"partition\""},
    {"{'up':1}", "up: expected what one direction suffers"},
    {"{'down':{'loss':{'rate':'9%','correlation':2}}}", "down.loss.correlation: expected a share"},
    {"{'trace':{}}", "either \"rows\" or \"csv\""},
    {"{'trace':{'rows':[],'csv':''}}", "either \"rows\" or \"csv\""},
    {"{'trace':{'rows':[]}}", "trace.rows: expected a list of rows"},
    {"{'trace':{'rows':[[0]]}}", "trace.rows[0]: expected [time, rtt, loss, rate]"},
    {"{'trace':{'rows':[[0,1,0,1,1]]}}", "trace.rows[0]: expected"},
    {"{'trace':{'rows':[[0,1],[0,2]]}}", "row 1: time 0 s does not come after"},
    {"{'trace':{'rows':[[0,1],[2,-2]]}}", "trace.rows[1] rtt: expected a duration"},
    {"{'trace':{'rows':[[null,1]]}}", "every row needs a time"},
    {"{'trace':{'rows':[[0,null,null,null]]}}", "no row says anything"},
    {"{'trace':{'rows':[[0,1]],'repeat':2}}", "trace.repeat: expected true or false"},
    {"{'trace':{'csv':7}}", "trace.csv: expected the text"},
    {"{'trace':{'csv':''}}", "it is empty"},
    {"{'trace':{'csv':'\\n# only\\n'}}", "it is empty"},
    {"{'trace':{'csv':'0,1\\n'}}", "line 1: unknown column \"0\"; valid: time, rtt, loss, rate"},
    {"{'trace':{'csv':'time,rttt\\n0,1'}}", "did you mean \"rtt\"?"},
    {"{'trace':{'csv':'time,rtt,rtt\\n0,1,1'}}", "the column rtt is there twice"},
    {"{'trace':{'csv':'rtt,loss\\n0,1'}}", "expected the column time"},
    {"{'trace':{'csv':'time\\n0'}}", "at least one of rtt"},
    {"{'trace':{'csv':'time,rtt\\n0,1\\nx,1'}}", "line 3: time: expected a duration"},
    {"{'trace':{'csv':'time,rtt\\n0,1\\n1,1,1'}}", "line 3: more cells than the header's 2"},
    {"{'trace':{'csv':'time,rtt\\n1,1\\n0,1'}}", "line 3: time 0 s does not come after"},
    {"{'trace':{'csv':'rtt,time\\n1'}}", "line 2: every row needs a time"},
    {"{'trace':{'csv':'time,loss\\n0,7'}}", "line 2: loss: expected a share"},
    {"{'trace':{'csv':'time,loss\\n0,nan'}}", "line 2: loss: expected a share"},
    {"{'trace':{'csv':'time,rate\\n0,5kbps'}}", "line 2: rate: \"5kbps\""},
    {"{'trace':{'csv':'time,rate\\n0,"
     "11111111111111111111111111111111111111111111111111111111111111111111'}}",
     "a cell is longer than 63 bytes"},
};

static void same_json(const json_t *have, const char *text, const char *canonical)
{
    json_t *want = fault_json(canonical);
    if (!json_equal(have, want)) {
        char *h = json_dumps(have, JSON_COMPACT);
        fail_msg("%s: canonical form is %s, expected %s", text, h, canonical);
    }
    json_decref(want);
}

static void good_ones_parse_to_the_same_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char words[256];
        struct error err = {0};
        struct fault_spec *s = fault_of(good[i].text);
        json_t *first = fault_spec_json(s);
        assert_non_null(first);
        same_json(first, good[i].text, good[i].canonical ? good[i].canonical : good[i].text);
        struct fault_spec *again = fault_spec_parse(first, &err);
        if (!again)
            fail_msg("%s: its canonical form is refused: %s", good[i].text, err.text);
        json_t *second = fault_spec_json(again);
        assert_true(json_equal(first, second));
        assert_string_equal(fault_spec_describe(s, words, sizeof words), good[i].words);
        json_decref(first);
        json_decref(second);
        fault_spec_release(s);
        fault_spec_release(again);
    }
}

static void bad_ones_say_what_is_expected(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = {0};
        struct fault_spec *s = fault_try(bad[i].text, &err);
        if (s)
            fail_msg("%s was taken", bad[i].text);
        if (err.code != ERR_INVALID || strncmp(err.text, "fault: ", 7) != 0 || !strstr(err.text, bad[i].why))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].text, err.text, bad[i].why);
    }
    struct error err = {0};
    assert_null(fault_spec_parse(NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

static void words_are_cut_at_the_end_of_the_buffer(void **state)
{
    (void)state;
    struct fault_spec *s = fault_of("{'latency':{'value':'200ms','jitter':'50ms'},'loss':'5%'}");
    const char *whole = "loss 5 %, latency 200 ms \xc2\xb1 50.0 ms";
    for (size_t size = 1; size < 48; size++) {
        char *dst = malloc(size); // ends where the sanitizer looks
        fault_spec_describe(s, dst, size);
        assert_true(strlen(dst) < size);
        assert_true(strncmp(whole, dst, strlen(dst)) == 0);
        assert_false(strlen(dst) && dst[strlen(dst) - 1] == '\xc2');
        free(dst);
    }
    fault_spec_release(s);
}

// --- traces

static struct trace *trace_of(const char *text)
{
    struct error err = {0};
    json_t *v = fault_json(text);
    struct trace *t = trace_parse("trace", v, &err);
    json_decref(v);
    if (!t)
        fail_msg("%s: %s", text, err.text);
    return t;
}

static double rtt_at(const struct trace *t, int64_t us)
{
    const struct trace_row *row = trace_at(t, us);
    return row ? row->rtt_us : -1;
}

static void a_trace_steps_at_its_times(void **state)
{
    (void)state;
    struct trace *t = trace_of("{'rows':[[1,0.1],[2,0.2],[4,0.4]]}");
    assert_true(rtt_at(t, -5) < 0);
    assert_true(rtt_at(t, 0) < 0);
    assert_true(rtt_at(t, 999999) < 0);
    assert_int_equal(rtt_at(t, 1000000), 100000);
    assert_int_equal(rtt_at(t, 1999999), 100000);
    assert_int_equal(rtt_at(t, 2000000), 200000);
    assert_int_equal(rtt_at(t, 3999999), 200000);
    assert_int_equal(rtt_at(t, 4000000), 400000);
    assert_int_equal(rtt_at(t, INT64_C(1) << 50), 400000);
    assert_int_equal(trace_next_us(t, 0), 1000000);
    assert_int_equal(trace_next_us(t, 1000000), 2000000);
    assert_true(trace_next_us(t, 4000000) == INT64_MAX);
    trace_release(t);
    t = trace_of("{'rows':[[0,0.1],[2,0.2],[4,0.4]],'repeat':true}"); // a round is 6 s
    assert_int_equal(rtt_at(t, 5999999), 400000);
    assert_int_equal(rtt_at(t, 6000000), 100000);
    assert_int_equal(rtt_at(t, 60 * 1000000 + 2000000), 200000);
    assert_int_equal(trace_next_us(t, 5000000), 6000000);
    assert_int_equal(trace_next_us(t, 6000000), 8000000);
    trace_release(t);
    t = trace_of("{'rows':[[0,0.1]],'repeat':true}");
    assert_int_equal(rtt_at(t, INT64_C(1) << 50), 100000);
    assert_true(trace_next_us(t, 0) == INT64_MAX);
    trace_release(t);
}

static json_t *csv_of(unsigned rows)
{
    struct buf text;
    buf_create(&text, 9u << 20);
    assert_int_equal(buf_append_str(&text, "time,rtt\n"), 0);
    for (unsigned i = 0; i < rows; i++)
        assert_int_equal(buf_printf(&text, "%u,%u\n", i, 1 + i % 100), 0);
    json_t *v = json_pack("{s:{s:s#}}", "trace", "csv", (const char *)text.data, (int)text.len);
    buf_destroy(&text);
    return v;
}

static void a_trace_has_a_cap(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *v = csv_of(ROWS_TOO_MANY - 1);
    struct fault_spec *s = fault_spec_parse(v, &err);
    assert_non_null(s);
    fault_spec_release(s);
    json_decref(v);
    v = csv_of(ROWS_TOO_MANY);
    assert_null(fault_spec_parse(v, &err));
    assert_non_null(strstr(err.text, "more than 100000 rows"));
    json_decref(v);

    char *large = malloc(TRACE_BYTES_MAX + 1);
    memset(large, '\n', TRACE_BYTES_MAX + 1);
    v = json_pack("{s:{s:s#}}", "trace", "csv", large, (int)(TRACE_BYTES_MAX + 1));
    assert_null(fault_spec_parse(v, &err));
    assert_non_null(strstr(err.text, "more than 8 MB"));
    json_decref(v);
    free(large);

    json_t *rows = json_array(), *row = json_pack("[i,i]", 0, 1);
    for (unsigned i = 0; i < ROWS_TOO_MANY; i++)
        json_array_append(rows, row);
    v = json_pack("{s:{s:o}}", "trace", "rows", rows);
    assert_null(fault_spec_parse(v, &err));
    assert_non_null(strstr(err.text, "more than 100000 rows"));
    json_decref(row);
    json_decref(v);
}

static void lists_have_a_cap(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *ports = json_array();
    for (int i = 1; i <= 256; i++)
        json_array_append_new(ports, json_integer(i));
    json_t *v = json_pack("{s:{s:O}}", "partition", "ports", ports);
    struct fault_spec *s = fault_spec_parse(v, &err);
    assert_non_null(s);
    fault_spec_release(s);
    json_array_append_new(ports, json_integer(257));
    assert_null(fault_spec_parse(v, &err));
    assert_non_null(strstr(err.text, "at most 256 entries"));
    json_decref(ports);
    json_decref(v);
}

// --- without memory

static long allocations_left = -1; // -1: as many as it likes; only jansson's, a test has no others to fail

static void *limited_malloc(size_t n)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left -= allocations_left > 0;
    return malloc(n);
}

static void without_memory_json_is_whole_or_nothing(void **state)
{
    (void)state;
    unsigned failed = 0;
    json_set_alloc_funcs(limited_malloc, free);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct fault_spec *s = fault_of(good[i].text);
        json_t *all = fault_spec_json(s);
        json_t *v = NULL;
        for (long n = 0; !v; n++) {
            allocations_left = n;
            v = fault_spec_json(s);
            allocations_left = -1;
            failed += !v;
        }
        if (!json_equal(v, all))
            fail_msg("%s: half of it was written", good[i].text);
        json_decref(v);
        json_decref(all);
        fault_spec_release(s);
    }
    json_set_alloc_funcs(malloc, free);
    print_message("%u allocations failed\n", failed);
    assert_true(failed > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones_parse_to_the_same_again),
        cmocka_unit_test(bad_ones_say_what_is_expected),
        cmocka_unit_test(words_are_cut_at_the_end_of_the_buffer),
        cmocka_unit_test(a_trace_steps_at_its_times),
        cmocka_unit_test(a_trace_has_a_cap),
        cmocka_unit_test(lists_have_a_cap),
        cmocka_unit_test(without_memory_json_is_whole_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
