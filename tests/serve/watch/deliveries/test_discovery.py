from serve.watch.deliveries.discovery import Topics, discovery_messages

TOPICS = Topics("home/pelee", "homeassistant")


def test_entities_of_cameras_and_rules() -> None:
    messages = dict(discovery_messages(TOPICS, {"yard": ["people", "cars"], "road": []}, images=True))
    assert list(messages) == [
        "homeassistant/image/home_pelee_yard_snapshot/config",
        "homeassistant/event/home_pelee_yard_people_event/config",
        "homeassistant/binary_sensor/home_pelee_yard_people_state/config",
        "homeassistant/event/home_pelee_yard_cars_event/config",
        "homeassistant/binary_sensor/home_pelee_yard_cars_state/config",
        "homeassistant/image/home_pelee_road_snapshot/config",
    ]
    for topic, values in messages.items():
        assert values["unique_id"] == topic.split("/")[2]
        assert values["availability_topic"] == "home/pelee/availability"
        assert values["device"]["name"] in ("yard", "road")
    event = messages["homeassistant/event/home_pelee_yard_people_event/config"]
    assert event["state_topic"] == "home/pelee/yard/people/event" and "crossed" in event["event_types"]
    state = messages["homeassistant/binary_sensor/home_pelee_yard_people_state/config"]
    assert (state["state_topic"], state["payload_on"]) == ("home/pelee/yard/people/state", "ON")
    image = messages["homeassistant/image/home_pelee_yard_snapshot/config"]
    assert (image["image_topic"], image["content_type"]) == ("home/pelee/yard/snapshot", "image/jpeg")
    assert len({values["unique_id"] for values in messages.values()}) == 6


def test_without_images() -> None:
    messages = discovery_messages(TOPICS, {"yard": ["people"]}, images=False)
    assert not [topic for topic, _ in messages if "/image/" in topic] and len(messages) == 2
