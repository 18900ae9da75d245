with

events as (
    select * from {{ ref('fhv_license_events') }}
),

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

counted_events as (
    select
        date(event_at, 'America/New_York') as list_date_new_york,
        countif(event_type = 'first_listed') as first_listed_license_count,
        countif(event_type = 'joined') as joined_license_count,
        countif(event_type = 'left') as left_license_count,
        countif(event_type = 'holder_changed') as holder_change_count,
        countif(event_type = 'base_changed') as base_change_count,
        countif(event_type = 'plate_changed') as plate_change_count,
    from events
    group by list_date_new_york
),

span as (
    select
        min(list_date_new_york) as first_date,
        max(list_date_new_york) as last_event_date,
    from counted_events
),

last_list as (
    select max(date(listed_at, 'America/New_York')) as last_date,
    from vehicles
),

-- Also the days on which no list differed, up to that of the last list.
dates as (
    select list_date_new_york,
    from span
    cross join last_list
    cross join unnest(
        generate_date_array(
            span.first_date,
            greatest(span.last_event_date, coalesce(last_list.last_date, span.last_event_date))
        )
    ) as list_date_new_york
),

dated_counts as (
    select
        dates.list_date_new_york,
        coalesce(counted_events.first_listed_license_count, 0) as first_listed_license_count,
        coalesce(counted_events.joined_license_count, 0) as joined_license_count,
        coalesce(counted_events.left_license_count, 0) as left_license_count,
        coalesce(counted_events.holder_change_count, 0) as holder_change_count,
        coalesce(counted_events.base_change_count, 0) as base_change_count,
        coalesce(counted_events.plate_change_count, 0) as plate_change_count,
    from dates
    left join counted_events on dates.list_date_new_york = counted_events.list_date_new_york
),

running_counts as (
    select
        list_date_new_york,
        first_listed_license_count,
        joined_license_count,
        left_license_count,
        holder_change_count,
        base_change_count,
        plate_change_count,
        sum(first_listed_license_count + joined_license_count - left_license_count) over (
            order by list_date_new_york
        ) as closing_license_count,
    from dated_counts
),

final as (
    select
        list_date_new_york,
        coalesce(
            lag(closing_license_count) over (order by list_date_new_york), 0
        ) as opening_license_count,
        first_listed_license_count,
        joined_license_count,
        left_license_count,
        closing_license_count,
        holder_change_count,
        base_change_count,
        plate_change_count,
    from running_counts
)

select * from final
