DROP TABLE analytics.date_types;
