"""Documents to be summarised: facts with slots drawn from a seed, between sentences that a summary can do without."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MONTHS = ("January", "February", "March", "April", "May", "June", "August", "September", "October", "November")
TOWNS = ("Arequipa", "Bergen", "Coimbra", "Durban", "Esbjerg", "Fukuoka", "Galway", "Hobart", "Izmir", "Jena")
SURNAMES = ("Quispe", "Larsen", "Moreira", "Dlamini", "Holm", "Tanaka", "Byrne", "Walker", "Aydin", "Vogel")


@dataclass(frozen=True, slots=True)
class Fact:
    """asks: what the summary must tell. long, short: how the document and a summary say it, with slots in braces.

    slots: those whose values a text must contain to have kept the fact.
    """

    asks: str
    long: str
    short: str
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    name: str
    title: str
    facts: tuple[Fact, ...]
    filler: tuple[str, ...]


Slots = Mapping[str, Callable[[random.Random], str]]
SLOTS: Slots = {
    "town": lambda rng: rng.choice(TOWNS),
    "person": lambda rng: rng.choice(SURNAMES),
    "date": lambda rng: f"{rng.randint(13, 28)} {rng.choice(MONTHS)}",
    "later": lambda rng: f"{rng.randint(13, 28)} December",
    "count": lambda rng: str(rng.randint(31, 480)),
    "money": lambda rng: str(rng.randint(14, 97)),
    "percent": lambda rng: str(rng.randint(21, 79)),
    "share": lambda rng: str(rng.randint(13, 19)),
    "hours": lambda rng: str(rng.randint(13, 30)),
}

DOCUMENTS = (
    Document("power_cut", "Report of the grid operator", (
        Fact("where and when it happened", "On {date} a large part of {town} was without electricity.",
             "Power cut in {town} on {date}", ("town", "date")),
        Fact("how many households were affected", "By the operator's count, {count} households were affected.",
             "{count} households affected", ("count",)),
        Fact("how long it lasted", "It took {hours} hours until the last street had power again.", "lasted {hours} "
            "hours",
             ("hours",)),
        Fact("the cause", "Investigators found that an excavator had cut a cable.", "an excavator cut a cable",
             ("excavator", "cable")),
        Fact("what it will cost", "Repairs will cost {money} million dollars, which the operator pays.",
             "repairs cost {money} million dollars", ("money",)),
    ), ("Neighbours lit candles and shared soup on the stairs.", "Traffic police directed cars by hand at the "
        "larger crossings.",
        "The evening football match went on under floodlights fed by a generator.",
        "Similar events have been rare in recent years, and engineers speak of bad luck.",
        "A local radio station told listeners to keep their refrigerators shut.",
        "Several shops handed out ice cream before it melted.", "Residents on social media praised the calm of the "
                                                                "crews.")),
    Document("council_meeting", "Minutes of the town council", (
        Fact("who decided what", "After a long debate the council of {town} voted to build a new swimming pool.",
             "{town} council will build a swimming pool", ("town", "pool")),
        Fact("how many were in favour", "Of those present, {percent} percent voted in favour.", "{percent} percent "
            "in favour",
             ("percent",)),
        Fact("the price", "The treasurer put the price at {money} million dollars.", "price {money} million dollars",
             ("money",)),
        Fact("who leads it", "Engineer {person} was asked to lead the works.", "led by {person}", ("person",)),
        Fact("when it opens", "Doors are to open on {later}.", "opens {later}", ("later",)),
    ), ("The meeting began with a minute of silence for a former mayor.", "Two visitors asked about the noise of "
        "the buses.",
        "Several speakers recalled how they had learnt to swim in the river.",
        "The microphone failed twice, to general amusement.", "A motion about benches in the park was put off.",
        "Coffee was served in the hall by the pupils of the trade school.", "The next meeting takes place as usual.")),
    Document("recall", "Notice of a manufacturer", (
        Fact("what is recalled", "The maker {person} calls back a kettle sold since spring.", "{person} recalls a "
            "kettle",
             ("person", "kettle")),
        Fact("how many", "In all, {count} pieces are concerned.", "{count} pieces", ("count",)),
        Fact("the danger", "The handle may break, and hot water can cause burns.", "handle may break, risk of burns",
             ("handle", "burn")),
        Fact("what buyers get", "Buyers get back {money} dollars, without a receipt.", "refund of {money} dollars",
             ("money",)),
        Fact("until when", "The offer holds until {later}.", "until {later}", ("later",)),
    ), ("The company was founded in a garage and still belongs to the family.",
        "The kettle had won a prize for its design.", "Other products of the house are not concerned.",
        "A spokesman thanked customers for their patience.", "Questions are answered on a free telephone line.",
        "Retailers have taken the product off their shelves.", "A new model has been announced, but not yet shown.")),
    Document("field_study", "Article about a study", (
        Fact("who studied what where", "A group led by {person} observed storks near {town}.",
             "{person}'s group observed storks near {town}", ("person", "stork", "town")),
        Fact("how many animals", "Altogether {count} birds carried a small transmitter.", "{count} birds with "
            "transmitters", ("count",)),
        Fact("the main result", "It turned out that {percent} percent no longer fly south in winter.",
             "{percent} percent no longer fly south in winter", ("percent", "south")),
        Fact("the explanation given", "The authors see the reason in food from rubbish dumps.", "because of food "
            "from rubbish dumps",
             ("dump",)),
        Fact("what comes next", "A second study begins on {date}.", "second study starts {date}", ("date",)),
    ), ("Storks have always been welcome guests in the villages.", "The transmitters weigh less than a letter.",
        "Volunteers climbed church towers to reach the nests.", "One bird, whom the children named Otto, became "
                                                                "famous.",
        "The article is illustrated with drawings in ink.", "Colleagues elsewhere call the work careful.",
        "The weather made the first weeks difficult.")),
    Document("rail_works", "Announcement of the railway", (
        Fact("which line is closed", "The line between {town} and the coast will be closed.", "Line from {town} to "
            "the coast closed",
             ("town", "coast")),
        Fact("from when", "The closure begins on {date}.", "from {date}", ("date",)),
        Fact("for how long", "It is planned to last {share} weeks.", "for {share} weeks", ("share",)),
        Fact("why", "A tunnel from the time of steam engines must be renewed.", "to renew a tunnel", ("tunnel",)),
        Fact("what travellers can use", "In place of the trains, buses leave every {hours} minutes.",
             "replacement buses every {hours} minutes", ("bus", "hours")),
    ), ("The railway asks for understanding.", "The station's clock tower remains open for visitors.",
        "Bicycles can unfortunately not be carried.", "The view from the line is loved by photographers.",
        "Pensioners remember travelling on wooden benches.", "Tickets stay valid, and seats need not be reserved.",
        "A small exhibition in the waiting room shows old plans.")),
    Document("tender", "Report from the economy", (
        Fact("who won what", "The shipyard of {town} has won the order for a ferry.", "{town} shipyard wins order "
            "for a ferry",
             ("town", "ferry")),
        Fact("the value", "The contract is worth {money} million dollars.", "worth {money} million dollars",
             ("money",)),
        Fact("the effect on jobs", "For it, {count} people will be hired.", "{count} people hired", ("count",)),
        Fact("what is special", "The ship will run on hydrogen.", "runs on hydrogen", ("hydrogen",)),
        Fact("when it is delivered", "Delivery is due on {later}.", "delivery {later}", ("later",)),
    ), ("Champagne was opened in the canteen.", "The yard has seen better and worse times.",
        "A competitor regretted the decision but will not appeal.", "Apprentices will be among those who lay the keel.",
        "The harbour pilots look forward to the new vessel.", "Local bakers hope for more customers in the morning.",
        "The name of the ship has not been chosen yet.")),
    Document("flood", "Account of the civil protection", (
        Fact("what happened where", "After days of rain the river flooded the lower part of {town}.",
             "River flooded {town}",
             ("town", "flood")),
        Fact("how many people had to leave", "As a precaution {count} people were brought to safety.",
             "{count} people evacuated",
             ("count",)),
        Fact("who led the operation", "The operation was led by commander {person}.", "led by commander {person}",
             ("person",)),
        Fact("how high the water rose", "The gauge rose by {share} feet.", "water rose {share} feet", ("share",)),
        Fact("when people may return", "People may go back to their homes on {date}.", "return on {date}", ("date",)),
    ), ("A cat was rescued from a plum tree.", "Boats were lent by the rowing club.", "Nobody was hurt, which many "
        "call a wonder.",
        "Neighbouring towns sent blankets and tea.", "The old people remember a flood of their youth.",
        "Children found it exciting that school was closed.", "The weather service expects drier days.")),
    Document("library", "Annual report of a library", (
        Fact("which library", "The library of {town} looks back on a good year.", "{town} library", ("town",)),
        Fact("how loans changed", "Loans rose by {percent} percent.", "loans up {percent} percent", ("percent",)),
        Fact("what was most in demand", "Nothing was borrowed as often as cookbooks.", "cookbooks most borrowed",
             ("cookbook",)),
        Fact("the new offer", "Since {date} visitors can also borrow tools.", "tools can be borrowed since {date}",
             ("tools", "date")),
        Fact("who takes over", "In the new year {person} becomes head of the house.", "{person} becomes head",
             ("person",)),
    ), ("The reading room got new lamps.", "The readers' club met by the fireplace.", "A lost novel came back after "
        "decades.",
        "The rubber plant at the entrance has reached the ceiling.", "Pupils painted the wall of the children's "
                                                                     "corner.",
        "The heating caused trouble in the cold weeks.", "Thanks go to all who helped without pay.")),
)  # fmt: skip
