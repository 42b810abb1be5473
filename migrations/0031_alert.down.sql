DROP TABLE daymill.alert_messages, daymill.alerts, daymill.alert_channels, daymill.alert_settings;
