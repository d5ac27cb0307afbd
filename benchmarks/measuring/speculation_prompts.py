"""Prompts of three kinds of work, written for this benchmark: edits of code, summaries of a text, chat.

Edits copy most of their input, summaries quote it, chat hardly repeats anything: so much can be guessed of each.
"""

from collections.abc import Mapping, Sequence

_STOCK = '''class Stock:
    """Items in a warehouse, by name."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.prices: dict[str, float] = {}

    def add(self, name: str, count: int, price: float) -> None:
        if count <= 0:
            raise ValueError(f"count is {count}, expected at least 1")
        self.counts[name] = self.counts.get(name, 0) + count
        self.prices[name] = price

    def remove(self, name: str, count: int) -> None:
        if self.counts.get(name, 0) < count:
            raise ValueError(f"there are only {self.counts.get(name, 0)} of {name}")
        self.counts[name] -= count
        if self.counts[name] == 0:
            del self.counts[name]
            del self.prices[name]

    def value(self) -> float:
        total = 0.0
        for name, count in self.counts.items():
            total += count * self.prices[name]
        return total
'''

_READINGS = """function readings(lines) {
  const result = [];
  for (const line of lines) {
    const [station, time, value] = line.split(",");
    if (value === undefined) {
      console.warn("skipping a line without a value: " + line);
      continue;
    }
    result.push({ station: station.trim(), time: Number(time), value: Number(value) });
  }
  return result;
}

function average(result, station) {
  let sum = 0;
  let count = 0;
  for (const reading of result) {
    if (reading.station === station) {
      sum += reading.value;
      count += 1;
    }
  }
  return count === 0 ? null : sum / count;
}
"""

_QUEUE = """create table jobs (
  id integer primary key,
  queue text not null,
  payload text not null,
  attempts integer not null default 0,
  created_at timestamp not null,
  started_at timestamp,
  finished_at timestamp
);

create index jobs_by_queue on jobs (queue, created_at);

select id, payload, attempts
from jobs
where queue = 'mail' and started_at is null and attempts < 5
order by created_at
limit 10;
"""

_LIGHTHOUSE = """\
The lighthouse on the northern cape was built in 1871 by the harbour guild of Torrevik. Before it stood there, \
eleven ships had been lost on the reefs in a single winter, and the guild decided that a light would cost less \
than the cargo. The tower is twenty-eight metres high, made of granite from the island, and its lamp burned \
whale oil for the first twenty years. In 1891 the keeper, Marta Lind, persuaded the guild to buy a petroleum \
lamp with a lens from Paris, which could be seen from thirty kilometres away. She kept a diary for thirty-four \
years, in which she wrote down the weather, the ships and the birds. The diary is now used by scientists, \
because it is the only record of the weather on the northern cape from that time. The lamp was connected to the \
electric grid in 1936, and the last keeper left in 1988. Today the lighthouse is a small museum, and the harbour \
guild still pays for its paint."""

_BEES = """\
Bumblebees can fly at temperatures at which most insects cannot move. They warm their flight muscles by \
shivering: the muscles of the wings are uncoupled from the wings and contract without moving them, until they \
have reached about thirty degrees. A thick coat of hair keeps the heat in. The queen uses the same trick in \
spring to warm her eggs, on which she sits like a bird. Because of this bumblebees are out in the fields weeks \
before honeybees, and fruit growers in cold regions depend on them. A colony of bumblebees is small, two hundred \
animals at most, and it dies in autumn; only the young queens live through the winter, alone, in a hole in the \
ground. Pesticides, the loss of hedges and warm winters, which wake the queens too early, have made several \
species rare."""

_MINUTES = """\
Minutes of the meeting of the allotment society, 4 March. Present: Ana Ruiz (chair), Piet de Wit (treasurer), \
Olu Adeyemi, Hanne Berg, Sam Carter. Piet de Wit reported that the society has 2,340 euros, 310 more than a year \
ago, and that four members have not paid. Ana Ruiz will write to them before the end of the month. Olu Adeyemi \
proposed to buy a shredder together with the neighbouring society; it would cost 900 euros, half for each. The \
proposal was accepted with four votes to one. Hanne Berg asked who will look after the shredder; Sam Carter \
volunteered for the first year. The water will be turned on again on 1 April. The summer party is planned for 21 \
June; Hanne Berg and Olu Adeyemi will prepare it. The next meeting is on 6 May at seven in the evening."""

PROMPTS: Mapping[str, Sequence[str]] = {
    "code editing": (
        f"Add a docstring to each method of this class. Answer with the whole code only.\n\n```python\n{_STOCK}```",
        f"Rename the variable `result` to `found` everywhere. Answer with the code only.\n\n```js\n{_READINGS}```",
        f"Add a column `priority` of type integer. Answer with the whole code only.\n\n```sql\n{_QUEUE}```",
    ),
    "summarising": (
        f"Summarise the following text in four sentences.\n\n{_LIGHTHOUSE}",
        f"Write down the main points of the following text as a list.\n\n{_BEES}",
        f"Who has to do what, and until when, according to these minutes?\n\n{_MINUTES}",
    ),
    "chat": (
        "What should I think about before I adopt a dog?",
        "Explain to a ten year old why the sea is salty.",
        "Write a short letter to a friend about a walk in the rain.",
    ),
}
