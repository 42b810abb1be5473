DROP TABLE analytics.top_entities;
