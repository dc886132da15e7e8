"""The captions that COYO-700M's README shows, with the numbers of its columns for them."""

# caption, text_length, word_count, num_tokens_bert, num_tokens_gpt
ROWS = (
    ("William Phillips - Fuel State Critical - Outcome in Doubt (B-25", 63, 10, 14, 18),
    (
        "Fishing Fleet (Monterey), California art by Art Riley. HD giclee art prints for "
        "sale at CaliforniaWatercolor.com - original California paintings, & premium "
        "giclee prints for sale",
        178,
        25,
        39,
        40,
    ),
    ("The Gate by Pete2453", 20, 4, 6, 6),
    ("Beautiful Pictures From the Shores of the Mythical Land (42", 59, 10, 11, 14),
    ("contemporary expensive lighting fixtures with minimum lighting", 62, 7, 7, 8),
    ("Himmel und Huhn - Ace in Action", 31, 6, 9, 10),
)
# Of BERT's vocabulary (bert-base-uncased) what these captions are made of.
VOCABULARY = (
    "william phillips - fuel state critical outcome in doubt ( b 25 fishing fleet monterey ) "
    ", california art by riley . hd gi ##cle ##e prints for sale at ##water ##color com "
    "original paintings & premium the gate pete ##24 ##53 beautiful pictures from shores of "
    "mythical land 42 contemporary expensive lighting fixtures with minimum him ##mel und huh "
    "##n ace action "
).split()
# Of GPT-2's merges likewise, in their order.
MERGES = (
    "Ġ|t Ġ|a h|e i|n r|e o|n Ġt|he e|r Ġ|s a|t Ġ|w Ġ|o e|n i|t i|s a|n o|r Ġ|b Ġ|f in|g Ġ|p "
    "o|u a|l a|r Ġ|m Ġo|f Ġ|in i|c l|e i|on o|m l|l Ġ|l v|e Ġ|e Ġ|g c|t Ġ|S u|t e|t Ġ|A i|m "
    "a|m Ġ|C i|g Ġf|or Ġ|u Ġ|M it|h c|e o|l Ġ|P Ġw|ith Ġ|( n|d i|ll Ġ|D i|f Ġ|H e|m Ġ|R Ġ|F "
    "u|l at|e Ġa|t o|re u|m a|in an|d Ġo|r ig|h r|om t|h Ġ|G Ġ|L Ġe|x re|s Ġb|y e|l i|ve "
    "igh|t Ġ|O om|e T|he ĠS|t Ġ|- i|p i|a ar|y e|re i|le ct|ion in|t ic|al Ġa|r en|s ing|s "
    "Ġp|re is|h ic|t at|er x|t on|t Ġp|r c|om r|it )|, ĠS|h u|res ĠA|r Ġm|in al|e Ġex|p or|n "
    "Ġ|& Ġar|t in|al ĠP|h 2|5 i|um ic|le Ġl|ight 2|4 i|am Ġor|ig ĠSt|ate p|or ĠM|y ens|ive "
    "ĠC|al a|ut Ġp|ain ip|s Ġorig|inal u|el im|um ore|s c|ome ĠCal|if orn|ia Ġu|nd "
    "ĠCalif|ornia ĠF|rom Ġpr|int c|ont 4|2 ĠAr|t ĠO|ut B|e ish|ing c|ol if|ul Ġpre|m 5|3 "
    "ĠP|et Ġmin|imum Ġs|ale por|ary ĠH|D ĠD|ou Ġexp|ensive i|xt ĠL|and u|h Ġpain|t ĠA|ction "
    "col|or im|m Ġprem|ium W|ill ile|y ĠC|rit ĠP|ict ĠPh|ill ĠF|le Ġlight|ing ĠG|ate ĠA|ce "
    "Will|iam ĠPet|e ĠPhill|ips ĠCrit|ical b|t ĠMy|th W|ater ĠFle|et ĠPict|ures Ġprint|s "
    "Ġpaint|ings ĠR|iley ĠF|uel ixt|ures M|ont em|porary Ġf|ixtures Be|aut ĠH|uh ere|y "
).split()
